"""`phoenixctl shutdown`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.power import WAIT, is_off, switch
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Shut the guest down.",
    epilog="""\b
The operating system of the guest stops its services and turns itself off. With --wait, the verb
returns when the guest's agent does not answer any more.

\b
Examples:
  $ phoenixctl shutdown web1
  $ phoenixctl shutdown --wait 'web*'
""",
)
@GUEST
@click.option("--halt", is_flag=True, help="Halt without turning the power off.")
@WAIT
@click.pass_obj
def command(options: Options, guest: str, halt: bool, wait: bool) -> int:
    """Shut the guest down, as its own shutdown(8) does."""

    async def act(connected: Guest) -> None:
        await connected.qga.shutdown("halt" if halt else "powerdown")

    return switch(options, guest, act, is_off if wait else None, "shutting down")
