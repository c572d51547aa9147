"""`phoenixctl cpus`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import GuestProblem
from phoenix_ga.cli.numbers import parse_numbers
from phoenix_ga.cli.output import titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.generated.qga import GuestLogicalProcessor

_ACTIONS = ("online", "offline")


@verb(
    short_help="Show the CPUs of the guest, take them online or offline.",
    epilog="""\b
CPUS is a list such as 1 or 2-3,5. Without it, `online` means all CPUs.

\b
Examples:
  $ phoenixctl cpus web1
  $ phoenixctl cpus web1 offline 1
  $ phoenixctl cpus web1 online
""",
)
@GUEST
@click.argument("action", type=click.Choice(_ACTIONS), required=False, metavar="[online|offline]")
@click.argument("cpus", required=False, metavar="[CPUS]")
@click.pass_obj
def command(options: Options, guest: str, action: str | None, cpus: str | None) -> int:
    """Show which CPUs of the guest are online; take CPUs online or offline."""
    if action == "offline" and cpus is None:
        raise click.UsageError("Name the CPUs to take offline.")
    wanted = None if cpus is None else parse_numbers(cpus)

    async def work(connected: Guest) -> list[GuestLogicalProcessor]:
        found = await connected.qga.get_vcpus()
        if action is not None:
            await _set(connected, found, wanted, action == "online")
            found = await connected.qga.get_vcpus()
        return found

    return each_guest(options, guest, work, lambda found: (found, _as_text(found)))


async def _set(guest: Guest, found: list[GuestLogicalProcessor], wanted: set[int] | None, online: bool) -> None:
    known = {cpu["logical-id"]: cpu for cpu in found}
    missing = sorted((wanted or set()) - set(known))
    if missing:
        raise GuestProblem(f"the guest has no CPU {missing[0]}")
    changed: list[GuestLogicalProcessor] = []
    for number, cpu in known.items():
        if cpu["online"] != online and (wanted is None or number in wanted):
            changed.append({"logical-id": number, "online": online})
    # The command stops at the first one that fails.
    done = 0
    while done < len(changed):
        done += await guest.qga.set_vcpus(changed[done:])


def _as_text(found: list[GuestLogicalProcessor]) -> str:
    rows = []
    for cpu in found:
        state = "online" if cpu["online"] else "offline"
        rows.append((str(cpu["logical-id"]), state, "yes" if cpu.get("can-offline", True) else "no"))
    return titled_table(("cpu", "state", "can go offline"), rows, "no CPUs")
