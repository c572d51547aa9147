"""`phoenixctl exec`"""

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
    run_program_on_several,
)
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import ProgramVerb, verb


@verb(
    ProgramVerb,
    short_help="Run a program in the guest.",
    epilog="""\b
The first word after GUEST is the program; options for exec go before it. No shell interprets
the arguments.

\b
Ctrl-C is sent to the program. A second Ctrl-C within a second ends phoenixctl and the program.
With -it, all keys go to the program, but ~. at the start of a line disconnects.

\b
The exit status is that of the program; 128+N if signal N ended it; 127 if the program was not
found; 126 if it cannot be executed. With several guests, there is no input, each line of
output is prefixed with the guest's name, and the exit status is the highest of all.

\b
Examples:
  $ phoenixctl exec web1 systemctl status nginx
  $ phoenixctl exec 'web*,db1' systemctl is-active nginx
  $ phoenixctl exec -i web1 sh -c 'cat > /tmp/list' < list
  $ phoenixctl exec -it -u postgres web1 psql
""",
)
@GUEST
@click.argument("argv", metavar="PROGRAM [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--interactive", is_flag=True, help="Forward stdin to the program.")
@click.option("-t", "--tty", is_flag=True, help="Run the program on a terminal in the guest.")
@click.option("-d", "--detach", is_flag=True, help="Print the process ID and leave the program running; see attach.")
@USER
@DIRECTORY
@ENVIRONMENT
@click.pass_obj
def command(
    options: Options,
    guest: str,
    argv: tuple[str, ...],
    interactive: bool,
    tty: bool,
    detach: bool,
    user: str,
    directory: str,
    environment: tuple[str, ...],
) -> int:
    """Run a program in the guest, with its output on stdout and stderr."""
    if detach and interactive:
        raise click.UsageError("--detach and --interactive exclude each other; attach -i gives input later.")
    if interactive and tty:
        require_terminal("exec -it")
    program = Program(argv, tty, user, directory, parse_environment(environment), detach)
    if interactive or tty or is_plain(guest):
        return run_program(options, guest, program, interactive)
    return run_program_on_several(options, guest, program)
