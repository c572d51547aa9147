"""A blocking client of a port, as simple as can be, so that what is measured is the other side."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from phoenix_ga.wire.frames import HEADER_SIZE, MAGIC, decode_header

_RECEIVE_SIZE = 64 * 1024
_TIMEOUT = 120


class PortError(Exception):
    """The other side did not do what it has to, or not in time."""


@dataclass
class Traffic:
    """What went over a port so far: payload and all else, in bytes, and requests."""

    size: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Header:
    """The header of a frame; its payload of `length` bytes follows on the port."""

    type: int
    stream: int
    length: int


class Port:
    """A connection to the host's end of a port. All methods wait, for two minutes at most."""

    def __init__(self, path: Path, traffic: Traffic) -> None:
        self.traffic = traffic
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX)
        # The kernel's own time-out: Python's would make the socket a non-blocking one.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _TIMEOUT, 0))
        self._socket.connect(str(path))

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        self.traffic.size += len(data)
        self._socket.sendall(data)

    def line(self) -> bytes:
        """The next line, without its end."""
        parts = []
        data = self._rest or self._receive()
        while (end := data.find(b"\n")) < 0:
            parts.append(data)
            data = self._receive()
        parts.append(data[:end])
        self._rest = data[end + 1 :]
        return b"".join(parts)

    def unit(self) -> bytes | Header:
        """The next line, or the header of the next frame."""
        if not self._rest:
            # No more than a header: the payload goes where it belongs without being copied.
            self._rest = self._receive(HEADER_SIZE)
        if self._rest[0] != MAGIC:
            return self.line()
        while len(self._rest) < HEADER_SIZE:
            self._rest += self._receive(HEADER_SIZE - len(self._rest))
        header = Header(*decode_header(self._rest))
        self._rest = self._rest[HEADER_SIZE:]
        return header

    def fill(self, view: memoryview) -> None:
        """Receive as many bytes as there is room for in `view`."""
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        while size < len(view):
            received = self._socket.recv_into(view[size:], 0, socket.MSG_WAITALL)
            if not received:
                raise PortError("the port was closed")
            self.traffic.size += received
            size += received

    def _receive(self, size: int = _RECEIVE_SIZE) -> bytes:
        data = self._socket.recv(size)
        if not data:
            raise PortError("the port was closed")
        self.traffic.size += len(data)
        return data
