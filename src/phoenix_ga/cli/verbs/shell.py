"""`phoenixctl shell`"""

from __future__ import annotations

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.cli.programs import DIRECTORY, ENVIRONMENT, USER, Program, parse_environment, run_program


@click.command(
    epilog="""\b
Leaving the shell gives its exit status. The terminal is as before afterwards, whatever happens.

\b
Example:
  $ phoenixctl shell unix:/run/web1.sock
"""
)
@click.argument("guest", shell_complete=complete_guest)
@USER
@DIRECTORY
@ENVIRONMENT
@click.pass_obj
def command(options: Options, guest: str, user: str, directory: str, environment: tuple[str, ...]) -> int:
    """Open a login shell in the guest, on this terminal."""
    started = Program((), True, user, directory, parse_environment(environment))
    return run_program(options, guest, started, interactive=True)
