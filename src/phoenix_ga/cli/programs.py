"""What exec, shell and attach share"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.selection import select
from phoenix_ga.cli.summary import DONE, Outcome, ended

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, GuestProcess
    from phoenix_ga.client.discovery import KnownGuest

USER = click.option("-u", "--user", default="", metavar="USER", help="Run it as this user of the guest.")


DIRECTORY = click.option(
    "-w", "--directory", default="", metavar="DIR", help="Run it in this directory; else in the user's home."
)


ENVIRONMENT = click.option(
    "-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set an environment variable."
)


@dataclass(frozen=True)
class Program:
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


def run_program(options: Options, guest: str, started: Program, interactive: bool) -> int:
    from phoenix_ga.cli.interactive import interact
    from phoenix_ga.client import GuestRefused

    async def work(connected: Guest) -> int:
        async with await started.start(connected) as process:
            if started.detach:
                options.show({"pid": process.pid}, str(process.pid))
                return 0
            return await interact(process, interactive, started.terminal)

    try:
        return ask(options, guest, work)
    except GuestRefused as error:
        kind = {errno.ENOENT: _NotFound, errno.EACCES: _NotExecutable}.get(error.code)
        if kind is None:
            raise
        raise kind(f"the guest refused: {error}") from None


def run_program_on_several(options: Options, guests: str, started: Program) -> int:
    from phoenix_ga.cli.interactive import stream_output
    from phoenix_ga.client import GuestRefused

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as guest:
            try:
                process = await started.start(guest)
            except GuestRefused as error:
                kind = {errno.ENOENT: _NotFound, errno.EACCES: _NotExecutable}.get(error.code)
                if kind is None:
                    raise
                await printer.error(error)
                return Outcome(kind.exit_code, "refused")
            async with process:
                if started.detach:
                    await printer.result({"pid": process.pid}, str(process.pid))
                    return DONE
                status = await stream_output(process, printer)
        await printer.result({"status": status}, "")
        return ended(status)

    return fan_out(options, select(guests), on_one)


class _NotStarted(click.ClickException):
    """The program did not start; the exit status is what a shell would return."""


class _NotFound(_NotStarted):
    exit_code = 127


class _NotExecutable(_NotStarted):
    exit_code = 126


def parse_environment(words: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of words of the form NAME=VALUE. Raises UsageError."""
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{word!r} is not of the form NAME=VALUE.")
        variables[name] = value
    return variables
