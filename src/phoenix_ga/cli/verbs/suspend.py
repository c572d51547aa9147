"""`phoenixctl suspend`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.power import WAIT, is_off, switch
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_MODES = ("ram", "disk", "hybrid")


@verb(
    short_help="Suspend the guest to memory or to disk.",
    epilog="""\b
A guest that is suspended to memory is woken by its virtual machine monitor, such as with
`virsh dompmwakeup`. `disk` and `hybrid` need swap space in the guest.

\b
Example:
  $ phoenixctl suspend web1
""",
)
@GUEST
@click.option("--mode", type=click.Choice(_MODES), default="ram", show_default=True, help="Where to.")
@WAIT
@click.pass_obj
def command(options: Options, guest: str, mode: str, wait: bool) -> int:
    """Suspend the guest."""

    async def act(connected: Guest) -> None:
        methods = {
            "ram": connected.qga.suspend_ram,
            "disk": connected.qga.suspend_disk,
            "hybrid": connected.qga.suspend_hybrid,
        }
        await methods[mode]()

    return switch(options, guest, act, is_off if wait else None, "suspending")
