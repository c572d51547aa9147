"""A small blocking client for a guest's port: it costs little, so the figures are those of the other side.

`Port` sends and receives bytes, lines and frames. `Agent` sends requests in the dialect of either agent.
"""

from __future__ import annotations

import copy
import json
import secrets
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phoenix_ga.wire.frames import HEADER_SIZE, MAGIC, decode_header

_RECEIVE_SIZE = 64 * 1024
_TIMEOUT = 30
# On a busy machine, the agent may take a `sync` for the earlier client's, and not answer it.
_SYNC_TIMEOUT = 5
_SYNC_ATTEMPTS = 12


class PortError(Exception):
    """The other side failed, sent something unexpected, or did not answer."""


class PortTimeout(PortError):
    """The other side did not answer in time."""


@dataclass
class Traffic:
    """What went over a port so far: bytes in both directions, and requests."""

    size: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Header:
    """The header of a frame; `length` bytes of payload follow it."""

    type: int
    stream: int
    length: int


class Port:
    """A connection to the host's end of a port. Every method blocks, for at most 30 seconds a system call."""

    def __init__(self, path: Path, traffic: Traffic) -> None:
        self.traffic = traffic
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self.set_timeout(_TIMEOUT)
        self._socket.connect(str(path))

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def set_timeout(self, seconds: int) -> None:
        """Limit the time of each system call; PortTimeout is raised after that."""
        self._timeout = seconds
        # Use the kernel's timeout: Python's would make the socket non-blocking.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        self.traffic.size += len(data)
        self._socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line, without its newline."""
        parts = []
        data = self._rest or self._receive()
        while (end := data.find(b"\n")) < 0:
            parts.append(data)
            data = self._receive()
        parts.append(data[:end])
        self._rest = data[end + 1 :]
        return b"".join(parts)

    def unit(self) -> bytes | Header:
        """Return the next line, or the header of the next frame."""
        if not self._rest:
            # Read only the header, so that fill() receives the payload without a copy.
            self._rest = self._receive(HEADER_SIZE)
        if self._rest[0] != MAGIC:
            return self.line()
        while len(self._rest) < HEADER_SIZE:
            self._rest += self._receive(HEADER_SIZE - len(self._rest))
        header = Header(*decode_header(self._rest))
        self._rest = self._rest[HEADER_SIZE:]
        return header

    def fill(self, view: memoryview) -> None:
        """Receive exactly as many bytes as `view` holds."""
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        while size < len(view):
            try:
                received = self._socket.recv_into(view[size:], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                raise PortTimeout(f"nothing arrived for {self._timeout} s") from None
            if not received:
                raise PortError("the port was closed")
            self.traffic.size += received
            size += received

    def _receive(self, size: int = _RECEIVE_SIZE) -> bytes:
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            raise PortTimeout(f"nothing arrived for {self._timeout} s") from None
        if not data:
            raise PortError("the port was closed")
        self.traffic.size += len(data)
        return data


@dataclass(frozen=True)
class Dialect:
    """The names of an agent's commands and arguments. closes_at_end: a read at the end closes the handle."""

    sync: str
    ping: str
    open: str
    read: str
    write: str
    close: str
    handle: str
    data: str
    closes_at_end: bool


PHOENIX_DIALECT: Final = Dialect(
    "sync", "ping", "file-open", "file-read", "file-write", "file-close", "handle_id", "bufb64", closes_at_end=True
)
QEMU_DIALECT: Final = Dialect(
    "guest-sync-delimited",
    "guest-ping",
    "guest-file-open",
    "guest-file-read",
    "guest-file-write",
    "guest-file-close",
    "handle",
    "buf-b64",
    closes_at_end=False,
)


class Agent:
    """An agent behind a port. The constructor synchronizes, so that no old answer is left to read."""

    def __init__(self, path: Path, dialect: Dialect, traffic: Traffic) -> None:
        self.port = Port(path, traffic)
        self.dialect = dialect
        self.port.set_timeout(_SYNC_TIMEOUT)
        if not any(self._synchronize() for _ in range(_SYNC_ATTEMPTS)):
            raise PortTimeout(f"the agent did not answer {dialect.sync}")
        self.port.set_timeout(_TIMEOUT)

    def _synchronize(self) -> bool:
        """Discard what earlier clients left, up to the answer to a `sync`. Return False if there is no answer."""
        number = secrets.randbits(32)
        self.port.send(b"\xff" + encode(self.dialect.sync, {"id": number}))
        try:
            while not self.port.line().endswith(b'\xff{"return": %d}' % number):
                pass
        except PortTimeout:
            return False
        return True

    def speaking(self, dialect: Dialect) -> Agent:
        """Return the same agent, on the same connection, in another dialect."""
        other = copy.copy(self)
        other.dialect = dialect
        return other

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *error: object) -> None:
        self.port.close()

    def ask(self, request: bytes) -> bytes:
        """Send an encoded request, and return the answer as it came."""
        self.port.traffic.requests += 1
        self.port.send(request)
        return self.port.line()

    def call(self, execute: str, **arguments: object) -> Any:
        """Run a command, and return its result. Raises PortError if the command fails."""
        return returned(execute, self.ask(encode(execute, arguments)))

    def ping(self) -> None:
        """Run the dialect's ping."""
        self.call(self.dialect.ping)


def encode(execute: str, arguments: dict[str, Any]) -> bytes:
    """Encode a request as a line."""
    request = {"execute": execute, "arguments": arguments} if arguments else {"execute": execute}
    return json.dumps(request).encode() + b"\n"


def returned(execute: str, answer: bytes) -> Any:
    """Return the result in an answer. Raises PortError if the answer is an error."""
    value = json.loads(answer)
    if "return" not in value:
        raise PortError(f"{execute}: {value.get('error')}")
    return value["return"]
