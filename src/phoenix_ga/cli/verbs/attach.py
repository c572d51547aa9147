"""`phoenixctl attach`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.completion import complete_detached
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Attach to a detached program.",
    epilog="""\b
PID is the number that exec --detach printed; `phoenixctl processes` lists it, too. Output that
the program wrote in the meantime is printed first. The exit status is that of the program.

\b
Ctrl-C is sent to the program. A second Ctrl-C within a second ends phoenixctl and leaves the
program running.

\b
Example:
  $ phoenixctl attach web1 4711
""",
)
@GUEST
@click.argument("pid", type=click.IntRange(min=1), shell_complete=complete_detached)
@click.option("-i", "--interactive", is_flag=True, help="Forward stdin to the program.")
@click.pass_obj
def command(options: Options, guest: str, pid: int, interactive: bool) -> int:
    """Attach to a program that was started with exec --detach."""
    from phoenix_ga.cli.interactive import interact

    async def work(connected: Guest) -> int:
        async with await connected.processes.attach(pid) as process:
            return await interact(process, interactive, with_terminal=process.stderr is None, ends_input=interactive)

    return ask(options, guest, work)
