"""The verb `ping`."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# Enough for the percentile; a ping that runs for days must not grow.
_TIMES_KEPT = 100_000
_TIMED_OUT = 124


class _Statistics:
    """What came of the requests so far. Times are in milliseconds."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.total = 0.0
        self.minimum = float("inf")
        self.maximum = 0.0
        self._times: deque[float] = deque(maxlen=_TIMES_KEPT)

    def add(self, milliseconds: float) -> None:
        self.answered += 1
        self.total += milliseconds
        self.minimum = min(self.minimum, milliseconds)
        self.maximum = max(self.maximum, milliseconds)
        self._times.append(milliseconds)

    def as_json(self) -> dict[str, float]:
        counts: dict[str, float] = {"asked": self.asked, "answered": self.answered}
        if self.answered:
            ordered = sorted(self._times)
            counts.update(
                minimum_ms=round(self.minimum, 3),
                average_ms=round(self.total / self.answered, 3),
                maximum_ms=round(self.maximum, 3),
                p99_ms=round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 3),
            )
        return counts

    def as_text(self) -> str:
        counts = self.as_json()
        lost = 100 * (self.asked - self.answered) / self.asked if self.asked else 0
        text = f"{self.asked} asked, {self.answered} answered, {lost:.0f}% lost"
        if self.answered:
            names = ("minimum_ms", "average_ms", "maximum_ms", "p99_ms")
            text += "\nround trip min/avg/max/p99 = " + "/".join(f"{counts[name]:.3f}" for name in names) + " ms"
        return text


@click.command(
    short_help="Ask the agent whether it is there.",
    epilog="""\b
Ends with status 124 where no request at all was answered; Ctrl-C is the ordinary end.

\b
Example:
  $ phoenixctl ping -c 3 -i 0.2 unix:/run/web1.sock
""",
)
@click.argument("guest")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests.")
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long between two requests.",
)
@click.pass_obj
def ping(options: Options, guest: str, count: int | None, interval: float) -> int:
    """Ask the agent whether it is there, again and again, and tell how long it took."""
    statistics = _Statistics()
    began = False

    async def work(connected: Guest) -> None:
        nonlocal began
        began = True
        await _ask_on(options, connected, statistics, count, interval)

    try:
        options.ask(guest, work)
    except KeyboardInterrupt:
        if not began:
            raise
    finally:
        if began:
            name = escape(guest)
            options.show({"statistics": statistics.as_json()}, f"--- {name} ---\n{statistics.as_text()}")
    return 0 if statistics.answered else _TIMED_OUT


async def _ask_on(
    options: Options, guest: Guest, statistics: _Statistics, count: int | None, interval: float
) -> None:
    import asyncio

    from phoenix_ga.client import GuestTimeout

    while True:
        statistics.asked += 1
        number = statistics.asked
        start = time.perf_counter()
        try:
            version = await guest.ping()
        except GuestTimeout as error:
            options.show({"number": number, "error": error.text}, f"number={number} {error.text}")
        else:
            milliseconds = (time.perf_counter() - start) * 1000
            statistics.add(milliseconds)
            options.show(
                {"number": number, "version": version, "ms": round(milliseconds, 3)},
                f"answer from {escape(guest.name)}: version={escape(version)} number={number} "
                f"time={milliseconds:.3f} ms",
            )
        if number == count:
            return
        rest = interval - (time.perf_counter() - start)
        await asyncio.sleep(max(rest, 0))
