"""`phoenixctl check`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.plugin_checks import (
    CHECKS,
    CRITICAL,
    STATES,
    UNKNOWN,
    CheckResult,
    Limits,
    Reading,
    lines_of_piggyback,
    ranges,
)
from phoenix_ga.cli.verb import Verb, verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, KnownGuest

# Plugins have ten seconds by default.
_TIMEOUT = 8.0


class _CheckVerb(Verb):
    """A verb whose usage errors are UNKNOWN: the usual status 2 would be CRITICAL."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            _end(CheckResult("check", UNKNOWN, " ".join(error.format_message().split())))
            raise


@verb(
    cls=_CheckVerb,
    short_help="Check a guest, as a plugin of Nagios, Icinga or checkmk.",
    epilog="""\b
CHECK is one of:
  agent    the time of an answer, in seconds; CRITICAL if there is none
  disk     the fullest filesystem, in percent; by default -w 80 -c 90
  load     the load averages of 1, 5 and 15 minutes, for each CPU, such as -w 2,1.5,1
  memory   the memory that is not available, in percent; by default -w 80 -c 90
  freeze   for how long filesystems have been frozen, in seconds; by default -w 300 -c 900
  clock    how far the clock is from the host's, in seconds; by default -w 1 -c 10
  all      all of them, with these defaults; the worst state counts

\b
RANGE has the form of the plugin guidelines: 10 alerts below 0 and above 10, 10: below 10, ~:10
above 10, 10:20 outside, and @10:20 inside. Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
A guest that does not answer is CRITICAL for agent and all, and UNKNOWN for the others.

\b
--piggyback prints the checks of all selected guests for checkmk: make it a plugin of the agent
on this host, in /usr/lib/check_mk_agent/plugins.

\b
Examples:
  $ phoenixctl check disk web1 -w 95 -c 99
  $ phoenixctl check all '*' --piggyback
""",
)
@click.argument("name", metavar="CHECK", type=click.Choice([*CHECKS, "all"]))
@click.argument("words", metavar="GUEST", shell_complete=complete_guest)
@click.option("-w", "--warning", metavar="RANGE", help="Warn if the value is outside of this range.")
@click.option("-c", "--critical", metavar="RANGE", help="Be critical if the value is outside of this range.")
@click.option(
    "--mount", "mounts", metavar="PATH", multiple=True, help="disk: check this mount point only. Repeatable."
)
@click.option("--piggyback", is_flag=True, help="Print the checks of all selected guests for checkmk.")
@click.pass_obj
def command(
    options: Options,
    name: str,
    words: str,
    warning: str | None,
    critical: str | None,
    mounts: tuple[str, ...],
    piggyback: bool,
) -> int:
    """Check a guest, and exit with the status that monitoring systems expect."""
    try:
        if name == "all" and (warning is not None or critical is not None):
            raise ValueError("all takes no -w and -c: their units differ")
        names = list(CHECKS) if name == "all" else [name]
        limits = {each: _limits(each, warning, critical) for each in names}
    except ValueError as error:
        return _end(CheckResult("check", UNKNOWN, str(error)))
    return _piggyback(options, words, limits, mounts) if piggyback else _one(options, words, name, limits, mounts)


def _limits(name: str, warning: str | None, critical: str | None) -> Limits:
    _, default_warning, default_critical = CHECKS[name]
    return Limits(
        ranges(default_warning if warning is None else warning),
        ranges(default_critical if critical is None else critical),
    )


def _one(options: Options, words: str, name: str, limits: dict[str, Limits], mounts: tuple[str, ...]) -> int:
    from phoenix_ga.cli.running import run
    from phoenix_ga.cli.selection import select_one
    from phoenix_ga.client import PhoenixError

    try:
        results = run(_check(options, select_one(words), limits, mounts))
    except click.UsageError as error:
        return _end(CheckResult(name, UNKNOWN, error.format_message()))
    except (PhoenixError, OSError) as error:
        return _end(CheckResult(name, UNKNOWN, str(error)))
    if name != "all":
        return _end(results[0])
    worst = max(results, key=_severity)
    figures = [figure for result in results for figure in result.figures]
    bad = "; ".join(f"{each.name}: {each.text}" for each in results if each.state) or worst.text
    return _end(CheckResult(name, worst.state, bad, figures))


def _piggyback(options: Options, words: str, limits: dict[str, Limits], mounts: tuple[str, ...]) -> int:
    import asyncio

    from phoenix_ga.cli.fanout import raise_file_limit
    from phoenix_ga.cli.running import run
    from phoenix_ga.cli.selection import select
    from phoenix_ga.client import PhoenixError

    async def check_all(guests: list[KnownGuest]) -> list[list[CheckResult]]:
        slots = asyncio.Semaphore(raise_file_limit(options.parallel))

        async def check_one(guest: KnownGuest) -> list[CheckResult]:
            async with slots:
                return await _check(options, guest, limits, mounts)

        return list(await asyncio.gather(*map(check_one, guests)))

    try:
        guests = select(words)
    except PhoenixError as error:
        return _end(CheckResult("check", UNKNOWN, str(error)))
    for guest, results in zip(guests, run(check_all(guests))):
        click.echo("\n".join(lines_of_piggyback(guest.name, results)))
    return 0


async def _check(
    options: Options, known: KnownGuest, limits: dict[str, Limits], mounts: tuple[str, ...]
) -> list[CheckResult]:
    """Return the results of the checks; of a guest that does not answer, of one check."""
    import asyncio

    from phoenix_ga.client import PhoenixError, timeouts

    limit = options.timeout or _TIMEOUT
    try:
        async with timeouts.timeout(limit), options.connect_among(known, limit) as guest:
            reading = await _read(guest, set(limits))
    except (PhoenixError, OSError, asyncio.TimeoutError) as error:
        text = str(error) or f"no answer in {limit:g} seconds"
        name = "agent" if "agent" in limits else next(iter(limits))
        return [CheckResult(name, CRITICAL if name == "agent" else UNKNOWN, text)]
    return [CHECKS[name][0](reading, limits[name], mounts) for name in limits]


async def _read(guest: Guest, names: set[str]) -> Reading:
    import time

    before = time.perf_counter()
    version = await guest.ping()
    round_trip = time.perf_counter() - before
    if names == {"agent"}:
        return Reading(version, round_trip)
    metrics = await guest.metrics()
    status = await guest.filesystems.status() if "freeze" in names else None
    offset = await _offset(guest) if "clock" in names else 0.0
    return Reading(version, round_trip, metrics, status, offset)


async def _offset(guest: Guest) -> float:
    """Return the offset of the guest's clock, from the fastest of three answers."""
    import time

    found = []
    for _ in range(3):
        before = time.time()
        there = (await guest.metrics()).time
        after = time.time()
        found.append((after - before, there - (before + after) / 2))
    return min(found)[1]


def _severity(result: CheckResult) -> int:
    """Order the states: UNKNOWN is worse than OK, and better than what is known to be bad."""
    return (0, 2, 3, 1)[result.state]


def _end(result: CheckResult) -> int:
    """Print a result, and exit with its state."""
    assert 0 <= result.state < len(STATES)
    click.echo(result.as_line())
    sys.exit(result.state)
