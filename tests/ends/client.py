"""The client end of a port: lines of JSON and frames over a connected socket.

It shares no code with the library, so that a mistake in `phoenix_ga.wire` is not made on both sides.
The benchmark uses it too: it does as little as possible beside system calls.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

TIMEOUT: Final = 20.0

# The header of a frame; see docs/protocol.md.
MAGIC: Final = 0xFB
HEADER: Final = struct.Struct(">BBHII")
DATA, WINDOW, END, RESET, SKIP = range(1, 6)

_RECEIVE_SIZE: Final = 64 * 1024


class PortError(Exception):
    """The other side did not do what it must."""


class HungUpError(PortError, EOFError):
    """The other side closed the connection."""


class RefusedError(PortError):
    """The agent answered with an error. text, code: from the answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        error = answer["error"]
        self.text = base64.b64decode(error["bufb64"]).decode()
        self.code = error["code"]
        super().__init__(f"{self.text} ({self.code})")


class Header(NamedTuple):
    """The header of a frame; its payload of `length` bytes follows."""

    type: int
    stream: int
    length: int


class Frame(NamedTuple):
    """A whole frame."""

    type: int
    stream: int
    payload: bytes


@dataclass
class Traffic:
    """What went over a port so far: bytes in both directions, and requests."""

    size: int = 0
    requests: int = 0


def encode_frame(type: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return encode_header(type, stream, len(payload)) + payload


def encode_header(type: int, stream: int, length: int) -> bytes:
    """Return the header of a frame."""
    return HEADER.pack(MAGIC, type, _check(type, stream, length), stream, length)


def encode_request(execute: str, arguments: dict[str, Any] | None = None, tag: object = None) -> bytes:
    """Return the line of a request; without a tag if there is none."""
    message: dict[str, object] = {"execute": execute}
    if arguments:
        message["arguments"] = arguments
    if tag is not None:
        message["tag"] = tag
    return json.dumps(message).encode() + b"\n"


def _check(type: int, stream: int, length: int) -> int:
    return (0x5048 ^ type * 0x0101 ^ stream ^ stream >> 16 ^ length ^ length >> 16) & 0xFFFF


class LineClient:
    """A client of an agent. Every method waits, and fails after the time limit of the socket."""

    def __init__(self, connection: socket.socket, traffic: Traffic | None = None) -> None:
        self.socket = connection
        self.socket.settimeout(TIMEOUT)
        self.traffic = traffic or Traffic()
        self._rest = b""
        self._tags = itertools.count(1)

    @classmethod
    def connect(cls, path: Path | str, traffic: Traffic | None = None) -> LineClient:
        """Connect to a Unix socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        return cls(connection, traffic)

    @classmethod
    def reach(cls, path: Path | str) -> LineClient:
        """Connect to a Unix socket; wait until somebody listens on it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return cls.connect(path)
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def wait_in_kernel(self, timeout: int) -> None:
        """Let the kernel limit each system call, in seconds; cheaper than Python's limit, which polls first."""
        self.socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", timeout, 0))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Bytes

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        self.traffic.size += len(data)
        self.socket.sendall(data)

    def _receive(self, size: int = _RECEIVE_SIZE) -> bytes:
        try:
            data = self.socket.recv(size)
        except socket.timeout:
            # Python 3.9 has a type of its own for it.
            raise TimeoutError("the agent does not answer") from None
        if not data:
            raise HungUpError(f"the agent closed the connection after {self._rest!r}")
        self.traffic.size += len(data)
        return data

    def fill(self, view: memoryview) -> None:
        """Receive as many bytes as `view` holds."""
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        while size < len(view):
            received = self.socket.recv_into(view[size:], 0, socket.MSG_WAITALL)
            if not received:
                raise HungUpError("the agent closed the connection within a frame")
            self.traffic.size += received
            size += received

    # Lines and frames

    def line(self) -> bytes:
        """Return the next line, with its end."""
        parts = [self._rest]
        self._rest = b""
        try:
            while (end := parts[-1].find(b"\n") + 1) == 0:
                parts.append(self._receive())
        except (OSError, HungUpError):
            self._rest = b"".join(parts)
            raise
        last = parts.pop()
        parts.append(last[:end])
        self._rest = last[end:]
        return b"".join(parts)

    def unit(self) -> bytes | Header:
        """Return the next line, or the header of the next frame."""
        if not self._rest:
            # No more than a header: `fill` receives the payload without a copy.
            self._rest = self._receive(HEADER.size)
        if self._rest[0] != MAGIC:
            return self.line()
        while len(self._rest) < HEADER.size:
            self._rest += self._receive(HEADER.size - len(self._rest))
        _, type, check, stream, length = HEADER.unpack_from(self._rest)
        if check != _check(type, stream, length):
            raise PortError(f"not the header of a frame: {self._rest[: HEADER.size]!r}")
        self._rest = self._rest[HEADER.size :]
        return Header(type, stream, length)

    def payload(self, header: Header) -> bytes:
        """Receive the payload after a header."""
        data = bytearray(header.length)
        self.fill(memoryview(data))
        return bytes(data)

    def whole_unit(self) -> bytes | Frame:
        """Return the next line, or the next frame."""
        unit = self.unit()
        return Frame(unit.type, unit.stream, self.payload(unit)) if isinstance(unit, Header) else unit

    def frame(self) -> Frame:
        """Return the next frame; no line may come before it."""
        unit = self.whole_unit()
        assert isinstance(unit, Frame), unit
        return unit

    def send_frame(self, type: int, stream: int, payload: bytes = b"") -> None:
        self.send(encode_frame(type, stream, payload))

    def wait_for_reset(self, stream: int) -> tuple[str, int]:
        """Skip frames until the agent resets `stream`; return text and code of the error."""
        while (frame := self.frame()).type != RESET:
            pass
        assert frame.stream == stream
        error = RefusedError({"error": json.loads(frame.payload)})
        return error.text, error.code

    # Requests

    def ask(self, execute: str, tag: object = None, **arguments: object) -> None:
        """Send a request; without a tag unless one is given."""
        self.traffic.requests += 1
        self.send(encode_request(execute, arguments, tag))

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        answer: dict[str, Any] = json.loads(self.line().lstrip(b"\xff"))
        return answer

    def call(self, execute: str, **arguments: object) -> Any:
        """Return what a command returns. Raises RefusedError."""
        tag = next(self._tags)
        self.ask(execute, tag, **arguments)
        answer = self.answer()
        assert answer["tag"] == tag, answer
        if "error" in answer:
            raise RefusedError(answer)
        return answer["return"]

    def sync(self, number: int = 4711) -> None:
        """Start anew: skip everything before the answer to `sync`."""
        self.send(b"\xff" + encode_request("sync", {"id": number}))
        while True:
            line = self.line()
            if b"\xff" in line and json.loads(line.rpartition(b"\xff")[2]) == {"return": number}:
                return

    # Files of the guest

    def read_file(self, path: Path | str, **arguments: object) -> bytes:
        """Return the content of a file of the guest."""
        handle = self.call("file-open", path=str(path))
        data = b""
        while True:
            piece = self.call("file-read", handle_id=handle, **arguments)
            data += base64.b64decode(piece["bufb64"])
            if piece["eof"]:
                return data

    def write_file(self, path: Path | str, data: bytes) -> None:
        """Write a file of the guest."""
        handle = self.call("file-open", path=str(path), mode="w")
        self.call("file-write", handle_id=handle, bufb64=base64.b64encode(data).decode(), eof=True)

    def burst(self, name: str, path: Path | str, count: int = 100) -> None:
        """Send `count` tagged requests at once, one in ten a file-read; check that each is answered once."""
        handle = self.call("file-open", path=str(path))
        tags = [f"{name}/{number}" for number in range(count)]
        for number, tag in enumerate(tags):
            if number % 10:
                self.ask("ping", tag)
            else:
                self.ask("file-read", tag, handle_id=handle, count=10_000)
        answers = [self.answer() for _ in tags]
        assert sorted(answer["tag"] for answer in answers) == sorted(tags)
        assert all("return" in answer for answer in answers)
        self.call("file-close", handle_id=handle)
