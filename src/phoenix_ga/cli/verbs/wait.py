"""`phoenixctl wait`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli import waiting_syntax
from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.completion import complete_condition
from phoenix_ga.cli.context import PARALLEL, Options
from phoenix_ga.cli.errors import about_guest
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select, select_one
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.cli.guest_printer import GuestPrinter
    from phoenix_ga.client.discovery import KnownGuest


@verb(
    short_help="Wait until something is the case in the guest.",
    epilog="""\b
CONDITION is one of:
  agent             the agent answers; prints its version
  address           an interface has an address that others can reach; prints it
                    address=4, address=6; then ,dev=NAME ,mac=ADDRESS or ,cidr=PREFIX
  route             there is a default route; route=4, route=6
  port=[ADDR:]N     a TCP socket listens (looked at every 0.5 s)
  path=PATH         PATH exists; path=PATH,absent: it does not
  unit=NAME         a unit of systemd is active
  boot-complete     systemd has started everything; prints running or degraded
  exec=COMMAND      a shell command succeeds (run every second); prints its first line of output
  load<N            the load average of one minute is below N (looked at every 5 s)
  pressure=RESOURCE[,some|full][,STALL/WINDOW]
                    tasks stall for want of cpu, io or memory, STALL ms in WINDOW ms
  shutdown          the guest is off, or was rebooted since

The guest's kernel tells when to look, so waiting takes no CPU time. The verb waits for an agent
that does not answer yet, and connects again after a reboot. With several conditions, all must have
been fulfilled once, and each line begins with the condition. There is no time limit without
--timeout; if it is reached, the exit status is 124.

\b
Examples:
  $ phoenixctl wait web1 agent
  $ phoenixctl wait web1 address=4 --timeout 60
  $ phoenixctl wait 'web*' boot-complete port=22
  $ phoenixctl wait web1 unit=nginx path=/run/failed --any
""",
)
@GUEST
@click.argument("conditions", nargs=-1, required=True, metavar="CONDITION...", shell_complete=complete_condition)
@click.option("--any", "any_", is_flag=True, help="Wait for the first condition only.")
@click.pass_obj
def command(options: Options, guest: str, conditions: tuple[str, ...], any_: bool) -> int:
    """Wait until conditions in the guest are fulfilled, and print what was found for each."""
    waiting_syntax.check(conditions)
    from phoenix_ga.cli.waiting import GuestWait

    # The time limit is for the whole, not for each answer.
    connecting = replace(options, timeout=None)
    single = len(set(conditions)) == 1

    def described(condition: str, found: str) -> tuple[dict[str, Any], str]:
        text = escape(found) if single else f"{escape(condition)}: {escape(found)}"
        return {"condition": condition, "found": found}, text

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async def tell(condition: str, found: str) -> None:
            await printer.result(*described(condition, found))

        await GuestWait(connecting, known, conditions, any_, tell).run(options.timeout)
        return DONE

    if not is_plain(guest):
        guests = select(guest)
        # A guest that has not been contacted is not waited for.
        return fan_out(replace(options, parallel=max(PARALLEL, len(guests))), guests, on_one)
    known = select_one(guest)

    async def tell(condition: str, found: str) -> None:
        options.show(*described(condition, found))

    with about_guest(known.name):
        run(GuestWait(connecting, known, conditions, any_, tell).run(options.timeout))
    return 0
