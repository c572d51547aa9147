"""`phoenixctl commands`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.path_completion import complete_guest

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@click.command(
    short_help="List the commands of the agent.",
    epilog="""\b
Example:
  $ phoenixctl commands unix:/run/web1.sock
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the commands that the agent would run now, under its policy."""

    async def work(connected: Guest) -> tuple[str, ...]:
        return await connected.get_commands()

    return each_guest(options, guest, work, lambda names: (list(names), "\n".join(map(escape, names))))
