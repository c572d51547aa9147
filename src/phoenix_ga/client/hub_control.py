"""Asking a hub about itself."""

from __future__ import annotations

import json
import socket
from errno import ENOENT
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.errors import ConnectError, ConnectionLostError, GuestTimeoutError, refusal
from phoenix_ga.client.hub_sockets import control_sockets
from phoenix_ga.wire.messages import MessageError, Request, decode_answer

TIMEOUT: Final = 10.0
_ANSWER_MAX: Final = 64 * 1024 * 1024


def ask_hub(execute: str, *, timeout: float | None = TIMEOUT, **arguments: str) -> Any:
    """Return the hub's answer to a request on its control socket.

    Raises:
        ConnectError: no hub is running.
        CommandError: the hub refused.
        GuestTimeoutError, ConnectionLostError: it did not answer.
    """
    request = Request(execute, arguments)
    with _connect(timeout) as connection:
        try:
            connection.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
            line = connection.makefile("rb").readline(_ANSWER_MAX)
        except socket.timeout:
            raise GuestTimeoutError("the hub does not answer", request) from None
        except OSError as error:
            raise ConnectionLostError(f"the hub: {error.strerror}", request) from None
    try:
        answer = decode_answer(line)
    except MessageError as error:
        raise ConnectionLostError(f"the hub: {error}", request) from None
    if answer.error is not None:
        raise refusal(answer.error, request)
    return answer.value


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
