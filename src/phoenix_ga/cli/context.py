"""The global options, and how they apply to a connection."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.errors import complain, current_guest
from phoenix_ga.cli.output import escape, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.client import Guest, SyncGuest
    from phoenix_ga.client.discovery import KnownGuest

# Longer messages are cut, so that bulk data does not hide the others.
_WIRE_SHOWN = 400

# Set by a shell that asks for completions; click derives this name from the program's.
COMPLETION_VARIABLE = "_PHOENIXCTL_COMPLETE"

# Guests contacted in parallel. A few that hang do not hold back the others.
PARALLEL = 64
# With several guests: time to connect to each, in seconds, and memory for all answers, in bytes.
_CONNECT_TIMEOUT = 5.0
_ANSWERS_MAX = 512 * 1024 * 1024
_ANSWER_MIN = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """The global options, and what a verb adds to them.

    Attributes:
        timeout: in seconds; None for the defaults of the verb, or else of the client library.
        answer_timeout: the verb's default for answers.
    """

    timeout: float | None = None
    answer_timeout: float | None = None
    json: bool = False
    verbose: bool = False
    parallel: int = PARALLEL
    allow_tcp: bool = False
    direct: bool = False

    def connect_to(self, guest: KnownGuest) -> AbstractAsyncContextManager[Guest]:
        """Return a context manager that connects to a guest."""
        from phoenix_ga.client import connect

        return connect(guest, **self._settings())

    def connect_sync(self, guest: KnownGuest) -> AbstractContextManager[SyncGuest]:
        """Return a context manager that connects to a guest without asyncio."""
        from phoenix_ga.client import connect_sync

        return connect_sync(guest, **self._settings())

    def connect_among(
        self,
        guest: KnownGuest,
        connect_timeout: float = _CONNECT_TIMEOUT,
        reconnect: float | None = None,
        on_busy: Callable[[str], None] = complain,
    ) -> AbstractAsyncContextManager[Guest]:
        """Return a context manager that connects to one of several guests, with bounded time and memory.

        on_busy: is told who else uses the port.
        """
        from phoenix_ga.client import CONNECT_TIMEOUT, connect
        from phoenix_ga.client.endpoints import SLOW_KINDS

        is_slow = guest.endpoint.partition(":")[0] in SLOW_KINDS
        settings: dict[str, Any] = {
            "connect_timeout": max(connect_timeout, CONNECT_TIMEOUT) if is_slow else connect_timeout,
            "line_limit": max(_ANSWERS_MAX // self.parallel, _ANSWER_MIN),
            "reconnect": reconnect,
            **self._settings(),
            "on_busy": on_busy,
        }
        return connect(guest, **settings)

    def show(self, value: Any, text: str) -> None:
        """Print `value` as a line of JSON with --json, else `text` unless it is empty."""
        if not (self.json or text):
            return
        # NO_COLOR turns off bold text as well.
        click.echo(to_json(value) if self.json else text, color=False if os.environ.get("NO_COLOR") else None)

    def _settings(self) -> dict[str, Any]:
        from phoenix_ga.client import KEEPALIVE_TIMEOUT

        settings: dict[str, Any] = {"on_busy": complain}
        if self.verbose:
            settings["trace"] = _show_wire
        if self.allow_tcp:
            settings.update(allow_tcp=True)
        if self.direct:
            settings.update(direct=True)
        if self.answer_timeout is not None:
            settings.update(timeout=self.answer_timeout)
        if self.timeout is not None:
            # A user who waits longer for answers also waits for a guest that is paused.
            patience = max(self.timeout, KEEPALIVE_TIMEOUT)
            settings.update(timeout=self.timeout, connect_timeout=self.timeout, keepalive_timeout=patience)
        return settings


def _show_wire(direction: str, data: bytes) -> None:
    name = current_guest.get()
    arrow = f"{name}: " * bool(name) + (">" if direction == "sent" else "<")
    for line in data.split(b"\n"):
        if line:
            rest = f" ... {len(line)} bytes" if len(line) > _WIRE_SHOWN else ""
            text = line[:_WIRE_SHOWN].decode("utf-8", "backslashreplace")
            click.echo(f"{escape(arrow)} {escape(text)}{rest}", err=True)
