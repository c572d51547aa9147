"""`phoenixctl processes`"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import moment, table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, ProcessInformation


@verb(
    short_help="List the programs that exec started.",
    epilog="""\b
A detached program that has ended is listed for an hour, or until a client attaches to it.

\b
Example:
  $ phoenixctl processes web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the programs that exec started: running ones, and detached ones that have ended."""

    async def work(connected: Guest) -> tuple[ProcessInformation, ...]:
        return await connected.processes.list()

    def describe(found: tuple[ProcessInformation, ...]) -> tuple[Any, str]:
        from dataclasses import asdict

        rows = [("pid", "started", "state", "program"), *map(_row, found)]
        return [asdict(process) for process in found], table(rows, indent="")

    return each_guest(options, guest, work, describe)


def _row(process: ProcessInformation) -> tuple[str, str, str, str]:
    if process.returncode is not None:
        state = f"ended ({process.returncode})" if process.returncode >= 0 else f"signal {-process.returncode}"
    else:
        state = "attached" if process.attached else "detached"
    return str(process.pid), moment(process.started), state, shlex.join(process.argv) or "login shell"
