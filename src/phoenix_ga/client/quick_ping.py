"""One ping over a Unix socket without an event loop, whose import takes longer than all else."""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from typing import Final

from phoenix_ga.client.endpoints import split_endpoint
from phoenix_ga.client.errors import EndpointError
from phoenix_ga.client.handshake import Handshake
from phoenix_ga.wire.messages import MessageError, decode_answer, encode_request

_PIECE: Final = 64 * 1024
# The longest answer to a ping.
_ANSWER_MAX: Final = 4096


def quick_ping(endpoint: str, patience: float) -> tuple[str, float] | None:
    """Ping an agent once.

    Args:
        patience: Time limit for all of it, in seconds.

    Returns:
        The agent's version and the round-trip time in seconds; None if the endpoint is no Unix socket or anything is
        not as usual. A connection in the usual way then tells what is wrong.
    """
    try:
        kind, path = split_endpoint(endpoint)
        if kind != "unix":
            return None
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            return _ping(_Connection(connection, path, time.monotonic() + patience))
        finally:
            connection.close()
    except (OSError, EndpointError, MessageError):
        return None


class _Connection:
    """A socket with one deadline for everything. Raises TimeoutError after it, and ConnectionError at the end."""

    def __init__(self, connection: socket, path: str, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline
        self._limit()
        connection.connect(path)

    def _limit(self) -> None:
        self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))

    def send(self, data: bytes) -> None:
        self._limit()
        self._socket.sendall(data)

    def receive(self) -> bytes:
        self._limit()
        if time.monotonic() > self._deadline:
            raise TimeoutError
        data = self._socket.recv(_PIECE)
        if not data:
            raise ConnectionError
        return data


def _ping(connection: _Connection) -> tuple[str, float] | None:
    tag = f"quick-{os.urandom(8).hex()}"
    handshake = Handshake(int.from_bytes(os.urandom(6), "big"), f"{tag}-sync")
    connection.send(handshake.request())
    rest = None
    while rest is None:
        rest = handshake.receive(connection.receive())
    began = time.perf_counter()
    connection.send(encode_request("ping", {}, tag))
    line = rest
    while b"\n" not in line:
        if len(line) > _ANSWER_MAX:
            return None
        line += connection.receive()
    took = time.perf_counter() - began
    answer = decode_answer(line[: line.index(b"\n")])
    if answer.error is not None or answer.tag != tag or type(answer.value) is not str:
        return None
    return answer.value, took
