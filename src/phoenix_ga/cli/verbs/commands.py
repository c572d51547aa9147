"""`phoenixctl commands`"""

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
    short_help="List the commands of the agent.",
    epilog="""\b
Run a command with `raw`.

\b
Example:
  $ phoenixctl commands web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the commands that the agent currently accepts, according to its policy."""

    async def work(connected: Guest) -> tuple[str, ...]:
        return await connected.commands()

    return each_guest(options, guest, work, lambda names: (list(names), "\n".join(map(escape, names))))
