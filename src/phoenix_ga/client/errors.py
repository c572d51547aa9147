"""What can go wrong between a host and its guest.

    GuestError
    ├── ConnectFailed        nobody to talk to: no socket, or nobody listens on it
    ├── GuestRefused         the guest answered: no. The reason is in .text and .code
    │   └── ...              and also the built-in error of that errno: FileNotFoundError for ENOENT,
    │                        PermissionError for EACCES and EPERM, OSError for those without a class
    ├── GuestTimeout         no answer in time; also a TimeoutError. `.garbage`: but other things came
    ├── LinkLost             the connection ended under the request
    ├── ProtocolViolation    the guest sent what the protocol does not allow
    ├── StreamBroken         a stream was reset, by the guest or by its reader; the connection goes on
    ├── TransferDamaged      what arrived of a file is not what was sent
    └── TransferIncomplete   some of a directory could not be copied: .missing says what

Each carries the request that met it in `.request`, or None where there was none yet. After
LinkLost, and after a ProtocolViolation with `.fatal`, the connection is of no more use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from phoenix_ga.wire.messages import NO_CODE, AnswerError, Request


class GuestError(Exception):
    """The base of all errors here. text: what happened. request: what was asked, or None."""

    def __init__(self, text: str, request: Request | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.request = request

    def __str__(self) -> str:
        return self.text if self.request is None else f"{self.request.execute}: {self.text}"


@contextmanager
def met_by(request: Request) -> Iterator[None]:
    """Let an error of ours in the body, that carries no request, carry this one."""
    try:
        yield
    except GuestError as error:
        error.request = error.request or request
        raise


def as_met_by(error: GuestError, request: Request) -> GuestError:
    """Return the error that broke the connection, as this request meets it."""
    if isinstance(error, ProtocolViolation):
        return ProtocolViolation(error.text, request, fatal=True)
    return type(error)(error.text, request)


class ConnectFailed(GuestError):
    """No connection came about; the text says what to look at."""


class LinkLost(GuestError):
    """The connection ended before the answer came. Whether the request was carried out is unknown."""


class ProtocolViolation(GuestError):
    """The guest sent what the protocol does not allow. fatal: the connection is of no more use."""

    def __init__(self, text: str, request: Request | None = None, *, fatal: bool = False) -> None:
        super().__init__(text, request)
        self.fatal = fatal


class StreamBroken(GuestError):
    """A stream ended before its end. code: the errno that the guest gave, -1 where there is none."""

    def __init__(self, text: str, code: int = NO_CODE, request: Request | None = None) -> None:
        super().__init__(text, request)
        self.code = code


class GuestTimeout(GuestError, TimeoutError):
    """No answer came in time. Whether the request was carried out is unknown.

    garbage: meanwhile the guest sent what nobody had asked for.
    """

    def __init__(self, text: str, request: Request | None = None, *, garbage: bool = False) -> None:
        super().__init__(text, request)
        self.garbage = garbage


class TransferDamaged(GuestError):
    """The digest of a file differs between guest and host: it changed meanwhile, or was damaged."""


class TransferIncomplete(GuestError):
    """Some of a directory could not be copied; all else is there.

    missing: what is not, and why, a line each, the first hundred of each side. reason: what happened, without
    these.
    """

    def __init__(self, reason: str, missing: tuple[str, ...] = (), request: Request | None = None) -> None:
        super().__init__(": ".join((reason, *missing[:1])), request)
        self.reason = reason
        self.missing = missing


class GuestRefused(GuestError):
    """The guest answered with an error.

    text: the guest's words. code: as the guest gave it, -1 where there is none. errno: the code, or
    None where there is none.
    """

    errno: int | None

    def __init__(self, text: str, code: int, request: Request | None = None) -> None:
        super().__init__(text, request)
        self.code = code
        if isinstance(self, OSError):
            OSError.__init__(self, code, text)
        else:
            self.errno = None


def refusal(error: AnswerError, request: Request) -> GuestRefused:
    """Return the exception for an error answer; it is also the built-in one of its errno."""
    kind = GuestRefused if error.code <= 0 else _refused_as(type(OSError(error.code, "")))
    return kind(error.text, error.code, request)


def _refused_as(builtin: type[OSError]) -> type[GuestRefused]:
    if builtin not in _kinds:
        name = f"GuestRefused{builtin.__name__}"
        _kinds[builtin] = type(name, (GuestRefused, builtin), {"__module__": __name__})
    return _kinds[builtin]


_kinds: dict[type[OSError], type[GuestRefused]] = {}
