"""The exceptions of the client library.

    PhoenixError
    ├── EndpointError            the endpoint is malformed, or no guest has this name; also a ValueError
    ├── ConnectError             the endpoint could not be opened; `.errno` is the reason, if the system gave one
    ├── CommandError             the agent answered with an error: `.text`, `.code`
    │   └── ...                  also the built-in exception of its errno: FileNotFoundError for ENOENT,
    │                            PermissionError for EACCES and EPERM, OSError for any other errno
    ├── GuestTimeoutError        no answer in time; also a TimeoutError
    │   └── ProcessTimeoutError  a program did not end in time: `.stdout`, `.stderr` hold its output so far
    ├── ConnectionLostError      the connection ended before the answer arrived, or the agent is stopping
    ├── ProtocolError            the guest violated the protocol; `.fatal`: the connection is unusable
    ├── StreamError              a stream was reset; the connection is still usable
    ├── FreezeNotHeldError       filesystems did not stay frozen: `.reasons`, by guest
    ├── SnapshotError            the disks of a guest could not be snapshotted
    ├── TransferDamagedError     the digests of guest and host differ
    ├── TransferIncompleteError  parts of a directory could not be copied: `.missing` lists them
    └── ProcessFailedError       a program ended with a non-zero status or by a signal: `.completed`

`.request` is the request that failed, or None. All exceptions can be pickled.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from phoenix_ga.wire.messages import NO_CODE, AnswerError, Request
from phoenix_ga.wire.streams import LINK_LOST


class PhoenixError(Exception):
    """Base class of all exceptions of this library.

    Attributes:
        text: what happened.
        request: the request that failed (`.execute`, `.arguments`), or None.
    """

    def __init__(self, text: str, request: Request | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.request = request

    def __str__(self) -> str:
        return self.text if self.request is None else f"{self.request.execute}: {self.text}"


@contextmanager
def with_request(request: Request) -> Iterator[None]:
    """Set `request` on exceptions of the body that have none."""
    try:
        yield
    except PhoenixError as error:
        error.request = error.request or request
        raise


def for_request(error: PhoenixError, request: Request) -> PhoenixError:
    """Return a copy of the error that ended the connection, for one of the requests in flight."""
    if isinstance(error, ProtocolError):
        return ProtocolError(error.text, request, fatal=True)
    return type(error)(error.text, request)


class EndpointError(PhoenixError, ValueError):
    """The endpoint is malformed, or no guest has this name."""


class ConnectError(PhoenixError):
    """The endpoint could not be opened.

    Attributes:
        errno: the error number of the system call that failed, or None.
    """

    def __init__(self, text: str, request: Request | None = None, *, errno: int | None = None) -> None:
        super().__init__(text, request)
        self.errno = errno


class ConnectionLostError(PhoenixError):
    """The connection ended before the answer arrived, or the agent is stopping.

    The command may or may not have run.
    """


class ProtocolError(PhoenixError):
    """The guest violated the protocol.

    Attributes:
        fatal: the connection is unusable.
    """

    def __init__(self, text: str, request: Request | None = None, *, fatal: bool = False) -> None:
        super().__init__(text, request)
        self.fatal = fatal


class StreamError(PhoenixError):
    """A stream was reset before its end.

    Attributes:
        code: the errno sent by the guest, or -1.
    """

    def __init__(self, text: str, code: int = NO_CODE, request: Request | None = None) -> None:
        super().__init__(text, request)
        self.code = code


class GuestTimeoutError(PhoenixError, TimeoutError):
    """No answer in time; the command may or may not have run.

    Attributes:
        garbage: the guest sent data that answers no request of this connection.
    """

    def __init__(self, text: str, request: Request | None = None, *, garbage: bool = False) -> None:
        super().__init__(text, request)
        self.garbage = garbage


class ProcessTimeoutError(GuestTimeoutError):
    """A program did not end in time and was terminated.

    Attributes:
        stdout, stderr: its output so far.
    """

    def __init__(self, text: str, request: Request | None = None, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(text, request)
        self.stdout = stdout
        self.stderr = stderr


class FreezeNotHeldError(PhoenixError):
    """Filesystems were thawed before they should have been, or nobody can tell whether they were.

    Attributes:
        reasons: what happened, by the name of the guest.
    """

    def __init__(self, reasons: dict[str, str], request: Request | None = None) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in reasons.items()), request)
        self.reasons = reasons


class SnapshotError(PhoenixError):
    """A snapshot of the disks of a guest could not be made, or could not be removed again."""


class TransferDamagedError(PhoenixError):
    """The digests of guest and host differ: the file changed during the transfer, or was damaged."""


class TransferIncompleteError(PhoenixError):
    """Parts of a directory could not be copied; everything else was.

    Attributes:
        missing: what was not copied and why, a line each, at most 100 for each side.
        reason: what happened.
    """

    def __init__(self, reason: str, missing: tuple[str, ...] = (), request: Request | None = None) -> None:
        super().__init__(": ".join((reason, *missing[:1])), request)
        self.reason = reason
        self.missing = missing


class CommandError(PhoenixError):
    """The agent answered with an error.

    Attributes:
        text: the message of the agent.
        code: its error code, or -1.
        errno: the code as an errno, or None.
        error_class: "CommandNotFound" or "GenericError" for commands of the QEMU dialect, else empty.
    """

    errno: int | None

    def __init__(self, text: str, code: int, request: Request | None = None, error_class: str = "") -> None:
        super().__init__(text, request)
        self.code = code
        self.error_class = error_class
        if isinstance(self, OSError):
            OSError.__init__(self, code, text)
        else:
            self.errno = None

    def __reduce__(self) -> tuple[object, ...]:
        return command_error, (self.text, self.code, self.request, self.error_class)


def command_error(text: str, code: int, request: Request | None, error_class: str = "") -> CommandError:
    """Return the exception for an error answer; it is also the built-in exception of its errno."""
    kind = CommandError if code <= 0 else _with_builtin(type(OSError(code, "")))
    return kind(text, code, request, error_class)


def refusal(error: AnswerError, request: Request) -> PhoenixError:
    """Return the exception for the error answer to `request`."""
    if error.code == LINK_LOST:
        return ConnectionLostError(error.text, request)
    return command_error(error.text, error.code, request, getattr(error, "error_class", ""))


def _with_builtin(builtin: type[OSError]) -> type[CommandError]:
    if builtin not in _kinds:
        name = f"Command{builtin.__name__}"
        _kinds[builtin] = type(name, (CommandError, builtin), {"__module__": __name__})
    return _kinds[builtin]


_kinds: dict[type[OSError], type[CommandError]] = {}


@dataclass(frozen=True)
class CompletedProcess:
    """A program that has ended.

    Attributes:
        argv: the program and its arguments.
        returncode: its exit status, or the negated number of the signal that ended it.
        stdout, stderr: its output.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    def check_returncode(self) -> None:
        """Raise ProcessFailedError unless the exit status is 0."""
        if self.returncode != 0:
            raise ProcessFailedError(self)


class ProcessFailedError(PhoenixError):
    """A program ended with a non-zero exit status or by a signal.

    Attributes:
        completed: the CompletedProcess.
    """

    def __init__(self, completed: CompletedProcess) -> None:
        self.completed = completed
        super().__init__(describe_returncode(completed.argv[0] if completed.argv else "shell", completed.returncode))

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessFailedError, (self.completed,)


def describe_returncode(program: str, returncode: int) -> str:
    """Return a sentence that says how a program ended."""
    if returncode >= 0:
        return f"{program} ended with status {returncode}"
    try:
        return f"{program} was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"{program} was ended by signal {-returncode}"
