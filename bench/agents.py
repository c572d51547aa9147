"""The same simple client for both agents: one request, then its answer."""

from __future__ import annotations

import base64
import copy
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.ends.client import LineClient, PortError, Traffic, encode_request

# Where an answer tells of the end of the file.
_TAIL: Final = 64
# Of each system call on a port, in seconds.
_TIMEOUT: Final = 120


@dataclass(frozen=True)
class Dialect:
    """How an agent calls things. closes: reading up to the end closes the handle."""

    sync: str
    ping: str
    open: str
    read: str
    write: str
    close: str
    handle: str
    text: str
    closes: bool


PHOENIX_DIALECT: Final = Dialect(
    "sync", "ping", "file-open", "file-read", "file-write", "file-close", "handle_id", "bufb64", closes=True
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
    closes=False,
)


def connect(path: Path, traffic: Traffic) -> LineClient:
    """Connect to the host's end of a port."""
    client = LineClient.connect(path, traffic)
    client.wait_in_kernel(_TIMEOUT)
    return client


class Agent:
    """An agent behind a port. Making one starts a conversation anew."""

    def __init__(self, path: Path, dialect: Dialect, traffic: Traffic) -> None:
        self.port = connect(path, traffic)
        self.dialect = dialect
        number = secrets.randbits(32)
        self.port.send(b"\xff" + encode_request(dialect.sync, {"id": number}))
        # Before the answer there may be what an earlier client has left, half a frame included.
        while not self.port.line().endswith(b'\xff{"return": %d}\n' % number):
            pass

    def speaking(self, dialect: Dialect) -> Agent:
        """The same agent and connection, asked in another dialect."""
        other = copy.copy(self)
        other.dialect = dialect
        return other

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *error: object) -> None:
        self.port.close()

    def call(self, execute: str, **arguments: object) -> Any:
        """Return what a command returned. Raises PortError where it failed."""
        self.port.ask(execute, **arguments)
        answer = json.loads(self.port.line())
        if "return" not in answer:
            raise PortError(f"{execute}: {answer.get('error')}")
        return answer["return"]

    def ping(self) -> None:
        """Ask, and wait for the answer."""
        self.call(self.dialect.ping)

    def open(self, path: str, mode: str) -> int:
        """Open a file of the guest, with the mode `r` or `w`, and return its handle."""
        handle: int = self.call(self.dialect.open, path=path, mode=mode)
        return handle

    def read_all(self, handle: int, piece: int) -> list[bytes]:
        """Read a file up to its end, `piece` bytes at a time, and close it; return the answers as they came."""
        request = encode_request(self.dialect.read, {self.dialect.handle: handle, "count": piece})
        answers = []
        while True:
            self.port.traffic.requests += 1
            self.port.send(request)
            line = self.port.line()
            answers.append(line)
            if b'"eof": true' in line[-_TAIL:] or not line.startswith(b'{"return"'):
                break
        if not self.dialect.closes:
            self.call(self.dialect.close, **{self.dialect.handle: handle})
        return answers

    def data(self, answer: bytes) -> bytes:
        """Return the data in the answer to a read. Raises PortError where there is none."""
        value = json.loads(answer)
        if "return" not in value:
            raise PortError(f"{self.dialect.read}: {value.get('error')}")
        return base64.b64decode(value["return"][self.dialect.text])

    def write_all(self, handle: int, pieces: Sequence[str]) -> None:
        """Write a file of pieces in base64, and close it."""
        for text in pieces:
            self.call(self.dialect.write, **{self.dialect.handle: handle, self.dialect.text: text})
        self.call(self.dialect.close, **{self.dialect.handle: handle})
