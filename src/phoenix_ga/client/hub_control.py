"""Asking a hub about itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from errno import ENOENT
from pathlib import Path
from typing import Any, Final, TypeVar

from phoenix_ga.client.errors import ConnectError, ConnectionLostError, GuestTimeoutError, refusal
from phoenix_ga.client.hub_sockets import control_sockets
from phoenix_ga.wire.messages import MessageError, Request, decode_answer, encode_request

Result = TypeVar("Result")

TIMEOUT: Final = 10.0
_ANSWER_MAX: Final = 64 * 1024 * 1024


def ask_hub(execute: str, *, timeout: float | None = TIMEOUT, **arguments: str) -> Any:
    """Return the hub's answer to a request on its control socket.

    Raises:
        ConnectError: no hub is running.
        CommandError: the hub refused.
        GuestTimeoutError, ConnectionLostError: it did not answer.
    """
    with _connect(timeout) as connection:
        return next(_answers(connection, Request(execute, arguments)))


def watch_hub(timeout: float | None = TIMEOUT) -> Iterator[dict[str, Any]]:
    """Yield the events of a hub, for ever; first one of the kind `guest` for each guest.

    Raises:
        ConnectError: no hub is running.
        ConnectionLostError: it has ended.
    """
    with _connect(timeout) as connection:
        answers = _answers(connection, Request("watch", {}))
        for guest in next(answers):
            yield {"event": "guest", "guest": guest["name"], "state": guest["state"]}
        connection.settimeout(None)
        for value in answers:
            if isinstance(value, dict) and "event" in value:
                yield value


def _answers(connection: socket.socket, request: Request) -> Iterator[Any]:
    """Send a request, and yield what the hub returns. Raises the errors of `ask_hub`."""
    _attempt(request, lambda: connection.sendall(encode_request(request.execute, request.arguments)))
    with connection.makefile("rb") as lines:
        while line := _attempt(request, lambda: lines.readline(_ANSWER_MAX)):
            try:
                answer = decode_answer(line)
            except MessageError as error:
                raise ConnectionLostError(f"the hub: {error}", request) from None
            if answer.error is not None:
                raise refusal(answer.error, request)
            yield answer.value
    raise ConnectionLostError("the hub has ended", request)


def _attempt(request: Request, deed: Callable[[], Result]) -> Result:
    """Use the connection. Raises GuestTimeoutError and ConnectionLostError."""
    try:
        return deed()
    except socket.timeout:
        raise GuestTimeoutError("the hub does not answer", request) from None
    except OSError as error:
        raise ConnectionLostError(f"the hub: {error.strerror}", request) from None


def _connect(timeout: float | None) -> socket.socket:
    problems: list[str] = []
    for path in control_sockets():
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            return connection
        except OSError as error:
            connection.close()
            if error.errno != ENOENT:
                problems.append(f"{path}: {error.strerror}")
    places = " and ".join(str(Path(path)) for path in control_sockets())
    raise ConnectError("; ".join(problems) or f"no hub is running: there is no {places}; start phoenix-hub")
