"""`phoenixctl reboot`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.power import WAIT, has_rebooted, switch
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Reboot the guest.",
    epilog="""\b
With --wait, the verb returns when the agent of the rebooted guest answers.

\b
Examples:
  $ phoenixctl reboot web1
  $ phoenixctl reboot --wait 'web*'
""",
)
@GUEST
@WAIT
@click.pass_obj
def command(options: Options, guest: str, wait: bool) -> int:
    """Reboot the guest, as its own reboot(8) does."""

    async def act(connected: Guest) -> None:
        await connected.qga.shutdown("reboot")

    return switch(options, guest, act, has_rebooted if wait else None, "rebooting")
