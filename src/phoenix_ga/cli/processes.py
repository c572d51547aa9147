"""The verbs `exec`, `shell`, `attach` and `processes`: programs in the guest."""

from __future__ import annotations

import errno
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import moment, table
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.cli.selection import is_plain, select

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, GuestProcess, ProcessInformation
    from phoenix_ga.client.discovery import KnownGuest

_USER = click.option("-u", "--user", default="", metavar="USER", help="Run it as this user of the guest.")
_DIRECTORY = click.option(
    "-w", "--directory", default="", metavar="DIR", help="Run it in this directory; else in the user's home."
)
_ENVIRONMENT = click.option(
    "-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set an environment variable."
)


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
@_USER
@_DIRECTORY
@_ENVIRONMENT
@click.pass_obj
def execute(
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
    started = _Started(argv, tty, user, directory, dict(map(_split_variable, environment)), detach)
    if interactive or tty or is_plain(guest):
        return _run(options, guest, started, interactive)
    return _run_on_several(options, guest, started)


@click.command(
    epilog="""\b
Leaving the shell gives its exit status. The terminal is as before afterwards, whatever happens.

\b
Example:
  $ phoenixctl shell unix:/run/web1.sock
"""
)
@click.argument("guest", shell_complete=complete_guest)
@_USER
@_DIRECTORY
@_ENVIRONMENT
@click.pass_obj
def shell(options: Options, guest: str, user: str, directory: str, environment: tuple[str, ...]) -> int:
    """Open a login shell in the guest, on this terminal."""
    started = _Started((), True, user, directory, dict(map(_split_variable, environment)))
    return _run(options, guest, started, interactive=True)


@click.command(
    epilog="""\b
What the program wrote meanwhile comes first. The exit status, and Ctrl-C, are as with exec; a second
Ctrl-C within a second leaves the program running.

\b
Example:
  $ phoenixctl attach unix:/run/web1.sock 4711
"""
)
@click.argument("guest", shell_complete=complete_guest)
@click.argument("pid", type=click.IntRange(min=1))
@click.option("-i", "--interactive", is_flag=True, help="Give it this program's standard input.")
@click.pass_obj
def attach(options: Options, guest: str, pid: int, interactive: bool) -> int:
    """Attach to a program that was started with exec --detach."""
    from phoenix_ga.cli.attend import attend

    async def work(connected: Guest) -> int:
        async with await connected.exec_attach(pid) as process:
            return await attend(process, interactive, with_terminal=process.stderr is None, ends_input=interactive)

    return options.ask(guest, work)


@click.command(
    short_help="List the programs that exec started.",
    epilog="""\b
A program that has ended is listed until somebody attaches to it, or for an hour.

\b
Example:
  $ phoenixctl processes unix:/run/web1.sock
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.pass_obj
def processes(options: Options, guest: str) -> int:
    """List the programs that exec started: those that run, and detached ones that have ended."""

    async def work(connected: Guest) -> tuple[ProcessInformation, ...]:
        return await connected.exec_list()

    def describe(found: tuple[ProcessInformation, ...]) -> tuple[Any, str]:
        from dataclasses import asdict

        rows = [("pid", "started", "state", "program"), *map(_row, found)]
        return [asdict(process) for process in found], table(rows, indent="")

    return options.each(guest, work, describe)


def _row(process: ProcessInformation) -> tuple[str, str, str, str]:
    if process.returncode is not None:
        state = f"ended ({process.returncode})" if process.returncode >= 0 else f"signal {-process.returncode}"
    else:
        state = "attached" if process.attached else "detached"
    return str(process.pid), moment(process.started), state, shlex.join(process.argv) or "login shell"


@dataclass(frozen=True)
class _Started:
    """What is to be started, as `Guest.exec` has it. No argv: a login shell."""

    argv: tuple[str, ...]
    terminal: bool
    user: str
    directory: str
    environment: dict[str, str]
    detach: bool = False

    async def start(self, guest: Guest) -> GuestProcess:
        """Start it, with a terminal of the size of ours where it has one."""
        from phoenix_ga.cli import terminal
        from phoenix_ga.wire.commands import WINDOW_DEFAULT

        environment = dict(self.environment)
        if self.terminal and "TERM" in os.environ:
            environment.setdefault("TERM", os.environ["TERM"])
        rows, columns = terminal.size()
        return await guest.exec(
            self.argv,
            env=environment,
            user=self.user,
            directory=self.directory,
            terminal=self.terminal,
            rows=rows,
            columns=columns,
            detach=self.detach,
            # What is under way to a client that leaves is lost to the next one.
            window=0 if self.detach else WINDOW_DEFAULT,
        )


def _run(options: Options, guest: str, started: _Started, interactive: bool) -> int:
    from phoenix_ga.cli.attend import attend
    from phoenix_ga.client import GuestRefused

    async def work(connected: Guest) -> int:
        async with await started.start(connected) as process:
            if started.detach:
                options.show({"pid": process.pid}, str(process.pid))
                return 0
            return await attend(process, interactive, started.terminal)

    try:
        return options.ask(guest, work)
    except GuestRefused as error:
        kind = {errno.ENOENT: _NotFound, errno.EACCES: _NotExecutable}.get(error.code)
        if kind is None:
            raise
        raise kind(f"the guest refused: {error}") from None


def _run_on_several(options: Options, guests: str, started: _Started) -> int:
    from phoenix_ga.cli.attend import overhear
    from phoenix_ga.cli.tally import DONE, Outcome, ended
    from phoenix_ga.cli.voice import Voice
    from phoenix_ga.client import GuestRefused

    async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
        async with options.connect_among(known) as guest:
            try:
                process = await started.start(guest)
            except GuestRefused as error:
                kind = {errno.ENOENT: _NotFound, errno.EACCES: _NotExecutable}.get(error.code)
                if kind is None:
                    raise
                await voice.error(error)
                return Outcome(kind.exit_code, "refused")
            async with process:
                if started.detach:
                    await voice.result({"pid": process.pid}, str(process.pid))
                    return DONE
                status = await overhear(process, voice)
        await voice.result({"status": status}, "")
        return ended(status)

    return options.fan_out(select(guests), on_one)


class _NotStarted(click.ClickException):
    """The program did not start; the exit status is what a shell would return."""


class _NotFound(_NotStarted):
    exit_code = 127


class _NotExecutable(_NotStarted):
    exit_code = 126


def _split_variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals):
        raise click.UsageError(f"{word!r} is not of the form NAME=VALUE.")
    return name, value
