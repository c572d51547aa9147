"""What all verbs share: the global options, and a connection to the guest."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.errors import current_guest
from phoenix_ga.cli.output import escape, to_json
from phoenix_ga.cli.selection import select_one

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, SyncGuest
    from phoenix_ga.client.discovery import KnownGuest

# More of a message than this hides the others; bulk data has no end.
_WIRE_SHOWN = 400

# Set by a shell that asks for completions; click derives this name from the program's.
COMPLETION_VARIABLE = "_PHOENIXCTL_COMPLETE"

# How many guests are asked at once. Those that hang must not hold back the others: 20 of 1,000 are many.
PARALLEL = 64
# Of several guests, how long one may take to answer at first, in seconds, and what all answers may take, in bytes.
_PATIENCE = 5.0
_ANSWERS_MAX = 512 * 1024 * 1024
_ANSWER_LEAST = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """timeout: in seconds, or None for the library's own. json: print JSON. verbose: show the wire.

    parallel: how many guests are asked at once, where there are several.
    allow_tcp: endpoints of TCP are fine.
    """

    timeout: float | None = None
    json: bool = False
    verbose: bool = False
    parallel: int = PARALLEL
    allow_tcp: bool = False

    def connect(self, guest: str) -> AbstractAsyncContextManager[Guest]:
        """Return the connection to the one guest that the words select, to be entered."""
        return self.connect_to(select_one(guest))

    def connect_to(self, guest: KnownGuest) -> AbstractAsyncContextManager[Guest]:
        """Return the connection to a guest, to be entered."""
        from phoenix_ga.client import connect

        return connect(guest, **self._settings())

    def connect_sync(self, guest: str) -> AbstractContextManager[SyncGuest]:
        """Return the connection to one guest without asyncio, to be entered."""
        from phoenix_ga.client import connect_sync

        return connect_sync(select_one(guest), **self._settings())

    def connect_among(self, guest: KnownGuest, patience: float = _PATIENCE) -> AbstractAsyncContextManager[Guest]:
        """Return the connection to one of several guests, to be entered: none may take much time or memory.

        patience: how long it may take to connect, in seconds, unless the user said so.
        """
        from phoenix_ga.client import connect

        settings: dict[str, Any] = {
            "connect_timeout": patience,
            "line_limit": max(_ANSWERS_MAX // self.parallel, _ANSWER_LEAST),
            **self._settings(),
        }
        return connect(guest, **settings)

    def show(self, value: Any, text: str) -> None:
        """Print `value` as a line of JSON where that is asked for, else `text`, if there is any."""
        if not (self.json or text):
            return
        # What NO_COLOR asks for holds for bold letters as well.
        click.echo(to_json(value) if self.json else text, color=False if os.environ.get("NO_COLOR") else None)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"trace": _show_wire} if self.verbose else {}
        if self.allow_tcp:
            settings.update(allow_tcp=True)
        if self.timeout is not None:
            settings.update(timeout=self.timeout, connect_timeout=self.timeout)
        return settings


def _show_wire(direction: str, data: bytes) -> None:
    name = current_guest.get()
    arrow = f"{name}: " * bool(name) + (">" if direction == "sent" else "<")
    for line in data.split(b"\n"):
        if line:
            rest = f" ... {len(line)} bytes" if len(line) > _WIRE_SHOWN else ""
            text = line[:_WIRE_SHOWN].decode("utf-8", "backslashreplace")
            click.echo(f"{escape(arrow)} {escape(text)}{rest}", err=True)
