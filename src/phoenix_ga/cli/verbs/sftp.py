"""`phoenixctl sftp`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.programs import USER
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Serve the files of the guest by SFTP on stdin and stdout.",
    epilog="""\b
Give it to a client of SFTP as the program to run; the guest needs no sshd. `phoenixctl mount` does
so for sshfs. The server is part of the agent, and has the rights of USER, by default the agent's.

\b
Examples:
  $ echo 'ls -l /etc' | sftp -b - -D 'phoenixctl sftp web1'
  $ echo 'get /etc/hosts logs/' | sftp -b - -D 'phoenixctl sftp -u alice -R web1'
""",
)
@GUEST
@USER
@click.option("-R", "--read-only", is_flag=True, help="Refuse whatever changes a file.")
@click.pass_obj
def command(options: Options, guest: str, user: str, read_only: bool) -> int:
    """Serve the files of the guest by SFTP on stdin and stdout."""

    async def work(connected: Guest) -> int:
        from phoenix_ga.cli.relay import join_stdio

        async with connected.sftp(user=user, read_only=read_only) as process:
            await join_stdio(process.stdout)
            return process.returncode or 0

    return ask(options, guest, work)
