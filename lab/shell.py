"""Run commands in the guest over its second serial port. The guest's side is guest/lab-shell."""

from __future__ import annotations

import base64
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lab.errors import GuestError

_READY = b"lab-shell ready\n"
_LONGEST = 32_000
#: The guest ends a command at its timeout. After this many more seconds the guest is considered dead.
_GRACE = 120.0


@dataclass(frozen=True)
class Result:
    """Exit status of a command in the guest, and its standard output and standard error, interleaved."""

    status: int
    output: bytes

    @property
    def text(self) -> str:
        """The output as text, without trailing white space."""
        return self.output.decode("utf-8", "replace").rstrip()


class ShellLost(GuestError):
    """QEMU has ended and closed the serial port."""


class GuestShell:
    """The host's end. One command runs at a time; threads take turns."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._buffer = b""
        self._lock = threading.RLock()

    def wait_ready(self, deadline: float) -> None:
        """Wait until the guest's shell is ready. `deadline` is in seconds of time.monotonic()."""
        with self._lock:
            self._skip_past(_READY, deadline)

    def run(self, command: str, timeout: float) -> Result:
        """Run `command` with bash as root. The guest ends it after `timeout` seconds, with status 124 or 137.

        Raises:
            ValueError: The command is too long for one line of the channel.
            GuestError: The guest does not answer.
        """
        encoded = base64.b64encode(command.encode())
        if len(encoded) > _LONGEST:
            raise ValueError("the command is too long: copy a script into the guest with copy_in() and run it")
        with self._lock:
            # A new token for each command: no output can be mistaken for an answer.
            token = secrets.token_hex(8).encode()
            self._socket.settimeout(_GRACE)
            self._socket.sendall(b"%s %.3f %s\n" % (token, timeout, encoded))
            deadline = time.monotonic() + timeout + _GRACE
            self._skip_past(b"lab-result %s " % token, deadline)
            status, length = self._take_line(deadline).split()
            return Result(int(status), self._take(int(length), deadline))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _skip_past(self, mark: bytes, deadline: float) -> None:
        while mark not in self._buffer:
            # Drop noise and late answers to earlier commands, but not the beginning of the mark.
            self._buffer = self._buffer[-len(mark) :] + self._receive(deadline)
        self._buffer = self._buffer.partition(mark)[2]

    def _take_line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            self._buffer += self._receive(deadline)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _take(self, length: int, deadline: float) -> bytes:
        parts = [self._buffer]
        missing = length - len(self._buffer)
        while missing > 0:
            parts.append(self._receive(deadline))
            missing -= len(parts[-1])
        data = b"".join(parts)
        self._buffer = data[length:]
        return data[:length]

    def _receive(self, deadline: float) -> bytes:
        remaining = deadline - time.monotonic()
        try:
            self._socket.settimeout(max(remaining, 0.001))
            data = self._socket.recv(65536)
        except socket.timeout:
            raise GuestError("the guest does not answer on its second serial port") from None
        except OSError as error:
            raise ShellLost(f"the connection to the guest's second serial port failed: {error}") from None
        if not data:
            raise ShellLost("QEMU has ended")
        return data
