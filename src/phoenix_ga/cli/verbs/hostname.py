"""`phoenixctl hostname`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Show the host name of the guest.",
    epilog="""\b
Example:
  $ phoenixctl hostname '*'
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Show the host name of the guest."""

    async def work(connected: Guest) -> str:
        return (await connected.qga.get_host_name())["host-name"]

    return each_guest(options, guest, work, lambda name: ({"hostname": name}, escape(name)))
