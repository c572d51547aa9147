"""`phoenixctl sftp`"""

from __future__ import annotations

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.programs import USER
from phoenix_ga.cli.serving_sftp import serve_sftp
from phoenix_ga.cli.verb import verb


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
    return serve_sftp(options, guest, user, read_only)
