"""`phoenixctl events`"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.completion import complete_event, complete_guest
from phoenix_ga.cli.context import PARALLEL, Options
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.output import escape, heading, moment
from phoenix_ga.cli.selection import is_plain, select, select_one
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from phoenix_ga.cli.guest_printer import GuestPrinter
    from phoenix_ga.client import Guest, GuestEvent
    from phoenix_ga.client.discovery import KnownGuest

# Seconds to keep trying to connect: a month.
_PATIENCE = 30 * 86400.0


@verb(
    short_help="Show what happens in guests, as it happens.",
    epilog="""\b
Links, addresses and routes; mounts; disks, processors and memory that are plugged in; processes
that were killed for want of memory; pressure; the clock; freezes and thaws, and by whom; the ends
of detached programs. docs/events.md describes each. The guest's kernel tells of them, so
watching takes no CPU time while nothing happens.

Without GUEST, all guests are watched. The verb ends with the connection, or goes on with -f when
it can be made again, and says that events may have been missed. Ctrl-C ends it.

\b
Examples:
  $ phoenixctl events web1
  $ phoenixctl events web1 --filter 'ADDRESS_*' --filter OOM_KILL
  $ phoenixctl events -f --json web1
""",
)
@click.argument("guests", nargs=-1, metavar="[GUEST...]", shell_complete=complete_guest)
@click.option(
    "--filter",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    shell_complete=complete_event,
    help="Show only events whose names match; may be repeated.",
)
@click.option("-f", "--follow", is_flag=True, help="Connect again if the agent or the guest restarts.")
@click.pass_obj
def command(options: Options, guests: tuple[str, ...], patterns: tuple[str, ...], follow: bool) -> int:
    """Show events of guests until you interrupt it."""
    from phoenix_ga.cli.running import run

    names = _names(patterns)
    patience = _PATIENCE if follow else None
    words = ",".join(guests) or "*"

    async def watch(guest: Guest, show: Callable[[GuestEvent], Awaitable[None]]) -> None:
        async with guest.events(*names) as events:
            for name, reason in events.unavailable.items():
                if name in names:
                    complain(f"the guest cannot tell {name}: {reason}", guest=guest.name)
            async for event in events:
                if event.name in names or not names:
                    await show(event)

    if is_plain(words):
        known = select_one(words)

        async def show(event: GuestEvent) -> None:
            options.show(*_described(event))

        async def watch_one() -> None:
            async with options.connect_among(known, reconnect=patience) as guest:
                await watch(guest, show)

        run(watch_one())
        return 0

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async def show(event: GuestEvent) -> None:
            await printer.result(*_described(event))

        async with options.connect_among(known, reconnect=patience) as guest:
            await watch(guest, show)
        return DONE

    selected = select(words)
    return fan_out(replace(options, parallel=max(PARALLEL, len(selected))), selected, on_one)


def _names(patterns: tuple[str, ...]) -> frozenset[str]:
    """Return the names of events that match; none for all. Raises click.UsageError if a pattern matches none."""
    from phoenix_ga.wire.events import BY_NAME

    for pattern in patterns:
        if not any(fnmatchcase(name, pattern.upper()) for name in BY_NAME):
            raise click.UsageError(f"No event matches {pattern!r}; docs/events.md lists them.")
    return frozenset(name for name in BY_NAME if any(fnmatchcase(name, each.upper()) for each in patterns))


def _described(event: GuestEvent) -> tuple[dict[str, Any], str]:
    seconds = int(event.timestamp)
    microseconds = int((event.timestamp - seconds) * 1_000_000)
    value = {
        "event": event.name,
        "data": event.data,
        "timestamp": {"seconds": seconds, "microseconds": microseconds},
    }
    words = [f"{escape(name)}={_shown(member)}" for name, member in event.data.items()]
    when = moment(seconds, f"%Y-%m-%d %H:%M:%S.{microseconds // 1000:03d}")
    return value, " ".join([when, heading(escape(event.name)), *words])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = escape(str(value))
    return f'"{text}"' if " " in text or not text else text
