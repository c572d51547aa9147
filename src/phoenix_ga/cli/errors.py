"""How errors are reported: a line on stderr (a JSON object with --json) and a documented exit status."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import click

from phoenix_ga.cli.output import escape, to_json

REFUSED = 1
USAGE = 2
NOT_HELD = 123
TIMED_OUT = 124
NO_LINK = 125

# The guest that a task works on, if there are several; else empty.
current_guest: Final[ContextVar[str]] = ContextVar("current_guest", default="")
# Whether errors are printed as JSON.
json_errors: Final[ContextVar[bool]] = ContextVar("json_errors", default=False)


class GuestProblem(OSError):
    """phoenixctl itself found that an object of the guest is missing or unsuitable."""


@contextmanager
def about_guest(name: str) -> Iterator[None]:
    """Note the guest's name on exceptions that leave the block, for `report`."""
    try:
        yield
    except Exception as error:
        vars(error).setdefault("guest", name)
        raise


@contextmanager
def exit_status_by_errno(statuses: dict[int, int]) -> Iterator[None]:
    """Choose the exit status for a refusal in the block by its errno."""
    from phoenix_ga.client import CommandError

    try:
        yield
    except CommandError as error:
        if error.code in statuses:
            vars(error)["status"] = statuses[error.code]
        raise


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit status for an error and its message, without the guest's name."""
    from phoenix_ga.client import (
        CommandError,
        EndpointError,
        FreezeNotHeldError,
        GuestTimeoutError,
        PhoenixError,
        SnapshotError,
        StreamError,
        TransferIncompleteError,
    )

    if isinstance(error, EndpointError):
        return USAGE, str(error)
    if isinstance(error, CommandError):
        # The guest names its own commands, not our verbs.
        hint = "; run phoenixctl thaw" if error.code == errno.EBUSY and "fs-unfreeze" in error.text else ""
        return vars(error).get("status", REFUSED), f"{error.text}{hint}"
    if isinstance(error, GuestTimeoutError):
        return TIMED_OUT, f"{error.text}; use --timeout to wait longer" if error.request else error.text
    if isinstance(error, FreezeNotHeldError):
        return NOT_HELD, error.text
    if isinstance(error, PhoenixError):
        refused = isinstance(error, (SnapshotError, StreamError, TransferIncompleteError))
        return REFUSED if refused else NO_LINK, error.text
    if isinstance(error, OSError):
        name = error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename
        text = error.strerror or str(error)
        if not isinstance(name, str):
            return vars(error).get("status", REFUSED), text
        return REFUSED, f"{name}: {text}" if isinstance(error, GuestProblem) else f"this host: {name}: {text}"
    return REFUSED, f"internal error, please report it: {type(error).__name__}: {error}"


def report(error: Exception) -> int:
    """Print an error with the name of its guest; return the exit status."""
    from phoenix_ga.client import PhoenixError

    status, text = explain(error)
    complain(text, status, vars(error).get("guest", "") if isinstance(error, (PhoenixError, GuestProblem)) else "")
    return status


def complain(text: str, status: int | None = None, guest: str = "") -> None:
    """Print an error on stderr, or a note if it has no exit status."""
    guest = guest or current_guest.get()
    if json_errors.get():
        value: dict[str, Any] = {"guest": guest} if guest else {}
        value.update({"note": text} if status is None else {"error": {"text": text, "status": status}})
        click.echo(to_json(value), err=True)
    else:
        click.echo(f"phoenixctl: {escape(with_name(guest, text))}", err=True)


def with_name(guest: str, text: str) -> str:
    """Prefix a message with the name of its guest, unless it begins with it."""
    return text if not guest or text.startswith(f"{guest.removeprefix('unix:')}: ") else f"{guest}: {text}"
