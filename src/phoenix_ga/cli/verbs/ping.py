"""`phoenixctl ping`"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import TIMED_OUT
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.cli.guest_printer import GuestPrinter
    from phoenix_ga.cli.summary import Outcome
    from phoenix_ga.client import Guest, GuestTimeoutError
    from phoenix_ga.client.discovery import KnownGuest

# The latest times, for the percentile; bounded, because a ping may run for days.
_TIMES_KEPT = 100_000
# With several guests: time limit for connecting and for each answer, in seconds.
_TIMEOUT = 2.5
# Time limit for a single ping without an event loop, before it is tried in the usual way, in seconds.
_QUICK = 1.0


class _Statistics:
    """Counts and round-trip times, in milliseconds."""

    def __init__(self) -> None:
        self.sent = 0
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

    def include(self, other: _Statistics) -> None:
        """Add the counts and times of another one."""
        self.sent += other.sent
        for milliseconds in other._times:
            self.add(milliseconds)

    def as_json(self) -> dict[str, float]:
        counts: dict[str, float] = {"sent": self.sent, "answered": self.answered}
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
        lost = 100 * (self.sent - self.answered) / self.sent if self.sent else 0
        text = f"{self.sent} sent, {self.answered} answered, {lost:.0f}% lost"
        if self.answered:
            names = ("minimum_ms", "average_ms", "maximum_ms", "p99_ms")
            text += "\nround trip min/avg/max/p99 = " + "/".join(f"{counts[name]:.3f}" for name in names) + " ms"
        return text


@verb(
    short_help="Check that the agent is alive.",
    epilog="""\b
The exit status is 0 if any request was answered, else 124.

\b
With several guests, the default is -c 1, and the time limit for each answer is 2.5 seconds
unless --timeout is given.

\b
Examples:
  $ phoenixctl ping '*'
  $ phoenixctl ping -c 3 -i 0.2 web1
""",
)
@GUEST
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests. Default: run until Ctrl-C."
)
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two requests.",
)
@click.pass_obj
def command(options: Options, guest: str, count: int | None, interval: float) -> int:
    """Check that the agent is alive, and measure the round-trip time."""
    if not is_plain(guest):
        return _ping_several(options, guest, count or 1, interval)
    statistics = _Statistics()
    if count == 1 and _ping_quickly(options, guest, statistics):
        return 0
    from phoenix_ga.cli.each_guest import ask

    connected = False

    async def show(value: dict[str, Any], text: str) -> None:
        options.show(value, text)

    async def work(there: Guest) -> None:
        nonlocal connected
        connected = True
        await _ping(there, f"answer from {escape(guest)}: ", statistics, count, interval, show)

    try:
        ask(options, guest, work)
    except KeyboardInterrupt:
        if not connected:
            raise
    finally:
        if connected:
            _show_statistics(options, guest, statistics)
    return 0 if statistics.answered else TIMED_OUT


def _ping_quickly(options: Options, guest: str, statistics: _Statistics) -> bool:
    """Ping once without the client library. Return False if that is not possible, or there is no answer."""
    if options.verbose:
        return False
    from phoenix_ga.client.quick_ping import quick_ping

    answer = quick_ping(guest, min(options.timeout or _QUICK, _QUICK))
    if answer is None:
        return False
    statistics.sent = 1
    statistics.add(answer[1] * 1000)
    options.show(*_answered(1, answer[0], answer[1] * 1000, f"answer from {escape(guest)}: "))
    _show_statistics(options, guest, statistics)
    return True


def _answered(number: int, version: str, milliseconds: float, prefix: str) -> tuple[dict[str, Any], str]:
    """Return what is shown of an answer, for JSON and as text."""
    return (
        {"number": number, "version": version, "ms": round(milliseconds, 3)},
        f"{prefix}version={escape(version)} number={number} time={milliseconds:.3f} ms",
    )


def _show_statistics(options: Options, guest: str, statistics: _Statistics) -> None:
    options.show({"statistics": statistics.as_json()}, f"--- {escape(guest)} ---\n{statistics.as_text()}")


def _ping_several(options: Options, guests: str, count: int, interval: float) -> int:
    from phoenix_ga.cli.fanout import fan_out
    from phoenix_ga.cli.selection import select
    from phoenix_ga.cli.summary import DONE, outcome_of

    statistics = _Statistics()

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known, _TIMEOUT) as connected:
            timed = connected.with_timeout(options.timeout or _TIMEOUT)
            own = _Statistics()
            timeout = await _ping(timed, "", own, count, interval, printer.result)
        statistics.include(own)
        return DONE if own.answered or timeout is None else outcome_of(timeout)

    try:
        return fan_out(options, select(guests), on_one)
    finally:
        _show_statistics(options, guests, statistics)


async def _ping(
    guest: Guest,
    prefix: str,
    statistics: _Statistics,
    count: int | None,
    interval: float,
    show: Callable[[dict[str, Any], str], Awaitable[None]],
) -> GuestTimeoutError | None:
    """Send `count` requests, or requests without end; return the last timeout."""
    import asyncio

    from phoenix_ga.client import GuestTimeoutError

    timeout = None
    while True:
        number = statistics.sent + 1
        statistics.sent = number
        start = time.perf_counter()
        try:
            version = await guest.ping()
        except GuestTimeoutError as error:
            timeout = error
            await show({"number": number, "error": error.text}, f"number={number} {error.text}")
        else:
            milliseconds = (time.perf_counter() - start) * 1000
            statistics.add(milliseconds)
            await show(*_answered(number, version, milliseconds, prefix))
        if number == count:
            return timeout
        rest = interval - (time.perf_counter() - start)
        await asyncio.sleep(max(rest, 0))
