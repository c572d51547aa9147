"""What all verbs share: the global options, and a connection to the guest."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phoenix_ga.cli.errors import speaker
from phoenix_ga.cli.output import escape, to_json
from phoenix_ga.cli.selection import is_plain, select, select_one

if TYPE_CHECKING:
    from phoenix_ga.cli.fanout import Work
    from phoenix_ga.cli.tally import Outcome
    from phoenix_ga.cli.voice import Voice
    from phoenix_ga.client import Guest, SyncGuest
    from phoenix_ga.client.discovery import KnownGuest

Result = TypeVar("Result")

# More of a message than this hides the others; bulk data has no end.
_WIRE_SHOWN = 400

# How many guests are asked at once. Those that hang must not hold back the others: 20 of 1,000 are many.
PARALLEL = 64
# Of several guests, how long one may take to answer at first, in seconds, and what all answers may take, in bytes.
_PATIENCE = 5.0
_ANSWERS_MAX = 512 * 1024 * 1024
_ANSWER_LEAST = 1024 * 1024


def nothing_wrong(result: Any) -> int:
    return 0


@dataclass(frozen=True)
class Options:
    """timeout: in seconds, or None for the library's own. json: print JSON. verbose: show the wire.

    parallel: how many guests are asked at once, where there are several.
    allow_tcp: endpoints of TCP are fine.
    """

    timeout: float | None
    json: bool
    verbose: bool
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

    def ask(self, guest: str, work: Callable[[Guest], Coroutine[Any, Any, Result]]) -> Result:
        """Connect to one guest, do `work` with it, and return its result."""

        async def connected() -> Result:
            async with self.connect(guest) as there:
                return await work(there)

        return run(connected())

    def each(
        self,
        guests: str,
        work: Callable[[Guest], Coroutine[Any, Any, Result]],
        describe: Callable[[Result], tuple[Any, str]],
        judge: Callable[[Result], int] = nothing_wrong,
    ) -> int:
        """Do `work` with each guest that `guests` selects, and show the results; return the exit status.

        describe: turns a result into a value for JSON and a text for readers. judge: returns the status
        that a result stands for. That of several guests is the highest.
        """
        if is_plain(guests):
            result = self.ask(guests, work)
            self.show(*describe(result))
            return judge(result)

        from phoenix_ga.cli.tally import ended

        async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
            async with self.connect_among(known) as guest:
                result = await work(guest)
            await voice.result(*describe(result))
            return ended(judge(result))

        return self.fan_out(select(guests), on_one)

    def fan_out(self, guests: list[KnownGuest], work: Work) -> int:
        """Do `work` with several guests at once, and sum up; return the highest status."""
        from phoenix_ga.cli.fanout import fan_out

        return fan_out(guests, work, self.parallel, self.json)

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
    name = speaker.get()
    arrow = f"{name}: " * bool(name) + (">" if direction == "sent" else "<")
    for line in data.split(b"\n"):
        if line:
            rest = f" ... {len(line)} bytes" if len(line) > _WIRE_SHOWN else ""
            text = line[:_WIRE_SHOWN].decode("utf-8", "backslashreplace")
            click.echo(f"{escape(arrow)} {escape(text)}{rest}", err=True)
