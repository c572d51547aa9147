"""The guests that `top` shows: a task for each asks for its figures, so a guest that hangs costs only its own row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.errors import current_guest, explain
from phoenix_ga.cli.top.figures import Figures, ProcessFigures, figures, process_figures

if TYPE_CHECKING:
    from phoenix_ga.cli.context import Options
    from phoenix_ga.client import Guest, Metrics, ProcessList
    from phoenix_ga.client.discovery import KnownGuest

# Seconds until a guest that could not be reached is tried again.
_RETRY: Final = 2.0
# Seconds until an answer is overdue.
_PATIENCE: Final = 5.0
_ERROR_MAX: Final = 200


class Row:
    """What is known of a guest.

    Attributes:
        figures: None until it has answered.
        since: when it answered last, by the monotonic clock.
        error: why it does not answer now, or empty.
        status: the exit status for that error; 0 if it only waits.
        answers: the number of answers since it was connected.
        failures: how often it could not be asked.
        processes: those of the guest, while it is shown in detail.
    """

    def __init__(self, known: KnownGuest) -> None:
        self.known = known
        self.name = known.name
        self.figures: Figures | None = None
        self.since = 0.0
        self.error = ""
        self.status = 0
        self.answers = 0
        self.failures = 0
        self.processes: list[ProcessFigures] | None = None
        self.waiting: asyncio.Future[None] | None = None


class Board:
    """Watches guests.

    Args:
        guests: The guests.
        interval: Seconds between two requests to a guest.

    Attributes:
        changed: is called after each answer and each error.
    """

    def __init__(self, options: Options, guests: Iterable[KnownGuest], interval: float) -> None:
        self.rows = [Row(known) for known in guests]
        self.interval = interval
        self.changed: Callable[[Row], None] = lambda row: None
        self._options = replace(options, answer_timeout=_PATIENCE)
        self._detailed: Row | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Board:
        self._tasks = [asyncio.ensure_future(self._watch(row)) for row in self.rows]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def detailed(self) -> Row | None:
        """The row of which the processes are wanted."""
        return self._detailed

    @detailed.setter
    def detailed(self, row: Row | None) -> None:
        self._detailed = row
        if row is not None and row.waiting is not None:
            _finish(row.waiting)

    def is_silent(self, row: Row) -> bool:
        """Return whether an answer of the guest is late, or will not come."""
        return bool(row.error) or time.monotonic() - row.since > 2 * self.interval + 1

    async def _watch(self, row: Row) -> None:
        current_guest.set(row.name)
        while True:
            try:
                async with self._options.connect_among(
                    row.known, on_busy=lambda text: self._note(row, text)
                ) as guest:
                    await self._ask(row, guest)
            except Exception as error:
                row.status, text = explain(error)
                row.answers = 0
                row.failures += 1
                self._note(row, text)
            await asyncio.sleep(max(_RETRY, self.interval))

    def _note(self, row: Row, text: str) -> None:
        row.error = text[:_ERROR_MAX]
        self.changed(row)

    async def _ask(self, row: Row, guest: Guest) -> None:
        before: tuple[float, Metrics] | None = None
        processes_before: tuple[float, ProcessList] | None = None
        while True:
            # A guest that is to be shown in detail is asked early for its processes, but rates need their time.
            if before is None or time.monotonic() - before[0] >= self.interval / 2:
                metrics = await guest.metrics()
                now = time.monotonic()
                earlier, seconds = (before[1], now - before[0]) if before else (None, 0.0)
                row.figures = figures(earlier, metrics, seconds)
                row.since, row.error, row.status = now, "", 0
                row.answers += 1
                before = now, metrics
            if self._detailed is row:
                found = await guest.processes.list_all()
                now = time.monotonic()
                then, seconds = (processes_before[1], now - processes_before[0]) if processes_before else (None, 0.0)
                row.processes = process_figures(then, found, seconds)
                processes_before = now, found
            else:
                row.processes = processes_before = None
            self.changed(row)
            await self._pause(row)

    async def _pause(self, row: Row) -> None:
        """Wait for the interval; less if the guest is chosen to be shown in detail."""
        loop = asyncio.get_running_loop()
        row.waiting = loop.create_future()
        timer = loop.call_later(self.interval, _finish, row.waiting)
        try:
            await row.waiting
        finally:
            timer.cancel()
            row.waiting = None


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
