"""`phoenixctl shell`"""

from __future__ import annotations

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.programs import (
    DIRECTORY,
    ENVIRONMENT,
    USER,
    Program,
    parse_environment,
    require_terminal,
    run_program,
)
from phoenix_ga.cli.verb import verb


@verb(
    short_help="Open a login shell in the guest.",
    epilog="""\b
The exit status is that of the shell. Escape sequences, at the start of a line only:
  ~.  disconnect, even if the guest does not respond
  ~~  send a ~
  ~?  show help

\b
Example:
  $ phoenixctl shell web1
""",
)
@GUEST
@USER
@DIRECTORY
@ENVIRONMENT
@click.pass_obj
def command(options: Options, guest: str, user: str, directory: str, environment: tuple[str, ...]) -> int:
    """Open a login shell in the guest on this terminal."""
    require_terminal("shell")
    program = Program((), True, user, directory, parse_environment(environment))
    return run_program(options, guest, program, interactive=True)
