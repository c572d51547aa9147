"""What `exec`, `shell` and `attach` have in common: the program to start, and its options."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_user
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.errors import exit_status_by_errno
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.selection import select
from phoenix_ga.cli.summary import DONE, Outcome, ended

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, GuestProcess
    from phoenix_ga.client.discovery import KnownGuest

USER = click.option(
    "-u",
    "--user",
    default="",
    metavar="USER[:GROUP]",
    help="Run as this user of the guest; names or numbers.",
    shell_complete=complete_user,
)
DIRECTORY = click.option(
    "-w", "--directory", default="", metavar="DIR", help="Run in this directory. Default: the user's home."
)
ENVIRONMENT = click.option(
    "-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set an environment variable."
)
# As a shell reports a program that it cannot start.
_NOT_STARTED = {errno.ENOENT: 127, errno.EACCES: 126}


@dataclass(frozen=True)
class Program:
    """A program to start, with the arguments of `Guest.exec`. Without argv: a login shell."""

    argv: tuple[str, ...]
    terminal: bool
    user: str
    directory: str
    environment: dict[str, str]
    detach: bool = False

    async def start(self, guest: Guest) -> GuestProcess:
        """Start it; a terminal gets the size of ours."""
        from phoenix_ga.cli import terminal
        from phoenix_ga.wire.commands import WINDOW_DEFAULT

        environment = dict(self.environment)
        if self.terminal and "TERM" in os.environ:
            environment.setdefault("TERM", os.environ["TERM"])
        rows, columns = terminal.size()
        with exit_status_by_errno(_NOT_STARTED):
            return await guest.exec(
                self.argv,
                env=environment,
                user=self.user,
                cwd=self.directory,
                terminal=self.terminal,
                rows=rows,
                columns=columns,
                detach=self.detach,
                # Output in flight to a client that leaves would be lost for the next one.
                window=0 if self.detach else WINDOW_DEFAULT,
            )


def run_program(options: Options, guest: str, program: Program, interactive: bool) -> int:
    """Run a program in one guest; return its exit status."""
    from phoenix_ga.cli.interactive import interact

    async def work(connected: Guest) -> int:
        async with await program.start(connected) as process:
            if program.detach:
                options.show({"pid": process.pid}, str(process.pid))
                return 0
            return await interact(process, interactive, program.terminal)

    return ask(options, guest, work)


def run_program_on_several(options: Options, guests: str, program: Program) -> int:
    """Run a program in several guests without input; return the highest exit status."""
    from phoenix_ga.cli.interactive import stream_output

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as guest, await program.start(guest) as process:
            if program.detach:
                await printer.result({"pid": process.pid}, str(process.pid))
                return DONE
            status = await stream_output(process, printer)
        await printer.result({"status": status}, "")
        return ended(status)

    return fan_out(options, select(guests), on_one)


def require_terminal(verb: str) -> None:
    """Raise UsageError if stdin is not a terminal."""
    from phoenix_ga.cli.stdio import STDIN

    if not os.isatty(STDIN):
        raise click.UsageError(f"{verb} needs a terminal on stdin; for scripts, use exec -i GUEST sh.")


def parse_environment(words: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of words of the form NAME=VALUE. Raises UsageError."""
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{word!r} is not of the form NAME=VALUE.")
        variables[name] = value
    return variables
