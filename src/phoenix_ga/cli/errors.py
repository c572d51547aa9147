"""What errors become: one line on stderr, and the documented exit status."""

from __future__ import annotations

import errno
from contextvars import ContextVar
from typing import Final

import click

from phoenix_ga.cli.output import escape

REFUSED = 1
USAGE = 2
TIMED_OUT = 124
NO_LINK = 125

# The guest that a task has to do with, where it is one of several; empty else.
current_guest: Final[ContextVar[str]] = ContextVar("current_guest", default="")


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit status and the message of an error. One that is none of ours is said to be so."""
    from phoenix_ga.client import (
        EndpointError,
        GuestError,
        GuestRefused,
        GuestTimeout,
        StreamBroken,
        TransferIncomplete,
    )

    if isinstance(error, EndpointError):
        return USAGE, str(error)
    if isinstance(error, GuestRefused):
        # The guest speaks of its commands, and not of our verbs.
        hint = "; run phoenixctl thaw" if error.code == errno.EBUSY and "fs-unfreeze" in error.text else ""
        return REFUSED, f"the guest refused: {error}{hint}"
    if isinstance(error, GuestTimeout):
        return TIMED_OUT, f"{error}; give it more time with --timeout" if error.request else str(error)
    if isinstance(error, (StreamBroken, TransferIncomplete)):
        return REFUSED, str(error)
    if isinstance(error, GuestError):
        return NO_LINK, str(error)
    if isinstance(error, OSError):
        if isinstance(error.filename, (str, bytes)):
            name = error.filename if isinstance(error.filename, str) else error.filename.decode(errors="replace")
            return REFUSED, f"{name}: {error.strerror}"
        return REFUSED, error.strerror or str(error)
    return REFUSED, f"internal error, please report it: {type(error).__name__}: {error}"


def complain(text: str) -> None:
    """Show a line on stderr, with the name of the guest where it is one of several."""
    name = current_guest.get()
    click.echo(f"phoenixctl: {escape(with_name(name, text) if name else text)}", err=True)


def with_name(name: str, text: str) -> str:
    """Return a message that begins with the name of its guest, once."""
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"
