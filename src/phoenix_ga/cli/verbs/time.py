"""`phoenixctl time`"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import moment
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_NANOSECONDS = 1_000_000_000


class _Clock(NamedTuple):
    """The guest's clock. time: in nanoseconds since the epoch. offset, error: of it, in seconds."""

    time: int
    offset: float
    error: float


@verb(
    short_help="Show the clock of the guest, or set it.",
    epilog="""\b
The offset is positive if the guest's clock is ahead of this host's. It is as exact as the time
that the answer took, which is shown after `±`.

\b
Examples:
  $ phoenixctl time '*'
  $ phoenixctl time --sync web1
""",
)
@GUEST
@click.option("--sync", is_flag=True, help="Set the guest's clock to that of this host.")
@click.pass_obj
def command(options: Options, guest: str, sync: bool) -> int:
    """Show the clock of the guest and its offset from this host's."""

    async def work(connected: Guest) -> _Clock:
        if sync:
            await _set(connected)
        return await _look(connected)

    return each_guest(options, guest, work, lambda clock: (_as_json(clock), _as_text(clock)))


async def _set(guest: Guest) -> None:
    import time

    await guest.qga.set_time(time.time_ns())


async def _look(guest: Guest) -> _Clock:
    """Return the clock, from the fastest of three answers."""
    import time

    best: _Clock | None = None
    for _ in range(3):
        before = time.time_ns()
        there = await guest.qga.get_time()
        after = time.time_ns()
        error = (after - before) / 2 / _NANOSECONDS
        if best is None or error < best.error:
            best = _Clock(there, (there - (before + after) // 2) / _NANOSECONDS, error)
    assert best is not None
    return best


def _as_json(clock: _Clock) -> dict[str, float]:
    return {"time": clock.time, "offset": round(clock.offset, 6), "error": round(clock.error, 6)}


def _as_text(clock: _Clock) -> str:
    shown = moment(clock.time // _NANOSECONDS, "%Y-%m-%d %H:%M:%S %z")
    return f"{shown}  offset {clock.offset:+.3f} s ± {clock.error:.3f} s"
