"""`phoenixctl exec`"""

from __future__ import annotations

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.cli.programs import (
    DIRECTORY,
    ENVIRONMENT,
    USER,
    Program,
    parse_environment,
    run_program,
    run_program_on_several,
)
from phoenix_ga.cli.selection import is_plain


@click.command(
    "exec",
    epilog="""\b
Its output goes to stdout and stderr as it comes. The exit status is that of the program, or 128
and the number of the signal that ended it, 127 where there is no such program, and 126 where it
can't be executed. Ctrl-C is sent to the program; a second one within a second ends phoenixctl,
and the program with it, unless it is detached.

\b
On several guests each line has the name of its guest before it, and control characters are shown
as escapes; the exit status is the highest. Ctrl-C ends all the programs. There is no input.

\b
Examples:
  $ phoenixctl exec unix:/run/web1.sock -- systemctl status nginx
  $ phoenixctl exec 'web*,db1' -- systemctl is-active nginx
  $ phoenixctl exec -i unix:/run/web1.sock -- sh -c 'cat > /tmp/list' < list
  $ phoenixctl exec -it -u postgres unix:/run/web1.sock -- psql
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.argument("argv", metavar="-- PROGRAM [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--interactive", is_flag=True, help="Give it this program's standard input.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-d", "--detach", is_flag=True, help="Print its process ID, and leave it running for `attach`.")
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
    """Run a program in the guest."""
    if detach and interactive:
        raise click.UsageError("With --detach nobody is there to give input; `attach -i` can do so later.")
    started = Program(argv, tty, user, directory, parse_environment(environment), detach)
    if interactive or tty or is_plain(guest):
        return run_program(options, guest, started, interactive)
    return run_program_on_several(options, guest, started)
