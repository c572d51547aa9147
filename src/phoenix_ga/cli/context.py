"""What all verbs share: the global options, and a connection to the guest."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phoenix_ga.cli.output import escape, to_json

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, SyncGuest

Result = TypeVar("Result")

# More of a message than this hides the others; bulk data has no end.
_WIRE_SHOWN = 400


@dataclass(frozen=True)
class Options:
    """timeout: in seconds, or None for the library's own. json: print JSON. verbose: show the wire.

    allow_tcp: endpoints of TCP are fine.
    """

    timeout: float | None
    json: bool
    verbose: bool
    allow_tcp: bool = False

    def connect(self, endpoint: str) -> AbstractAsyncContextManager[Guest]:
        """Return the connection to a guest, to be entered."""
        from phoenix_ga.client import connect

        return connect(endpoint, **self._settings())

    def connect_sync(self, endpoint: str) -> AbstractContextManager[SyncGuest]:
        """Return the connection to a guest without asyncio, to be entered."""
        from phoenix_ga.client import connect_sync

        return connect_sync(endpoint, **self._settings())

    def ask(self, endpoint: str, work: Callable[[Guest], Coroutine[Any, Any, Result]]) -> Result:
        """Connect, do `work` with the guest, and return its result."""

        async def connected() -> Result:
            async with self.connect(endpoint) as guest:
                return await work(guest)

        return run(connected())

    def each(
        self,
        guests: str,
        work: Callable[[Guest], Coroutine[Any, Any, Result]],
        describe: Callable[[Result], tuple[Any, str]],
    ) -> int:
        """Do `work` with each guest that `guests` names, and show the results; return the exit status.

        describe: turns a result into a value for JSON and a text for readers.
        """
        self.show(*describe(self.ask(guests, work)))
        return 0

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


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine. Ctrl-C cancels it; raises KeyboardInterrupt when it has cleaned up."""
    import asyncio
    import signal

    async def interruptible() -> Result:
        task = asyncio.current_task()
        assert task is not None
        # Before Python 3.11, asyncio.run cancels all tasks at once, those that clean-up needs included.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _show_wire(direction: str, data: bytes) -> None:
    arrow = ">" if direction == "sent" else "<"
    for line in data.split(b"\n"):
        if line:
            rest = f" ... {len(line)} bytes" if len(line) > _WIRE_SHOWN else ""
            text = line[:_WIRE_SHOWN].decode("utf-8", "backslashreplace")
            click.echo(f"{arrow} {escape(text)}{rest}", err=True)
