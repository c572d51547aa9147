"""`phoenixctl journal`"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.cli.guest_text import GuestText
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

# journalctl leaves out longer fields.
_LINE_MAX: Final = 16 * 1024 * 1024
_PRIORITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


@verb(
    short_help="Print the journal of the guest, and follow it.",
    epilog="""\b
journalctl(1) of the guest reads the journal. With -f, new messages are printed until Ctrl-C, which
also ends journalctl. TIME is that of journalctl, such as today or '2026-01-31 12:00', by the clock
of the guest.

\b
On a terminal, control characters are escaped. With several guests, they always are, and each line
is prefixed with the guest's name. With --json, each message is an object of journalctl -o json.

\b
Examples:
  $ phoenixctl journal -n 50 web1
  $ phoenixctl journal -u nginx --since today 'web*'
""",
)
@GUEST
@click.option("-f", "--follow", is_flag=True, help="Print new messages, until Ctrl-C.")
@click.option("-u", "--unit", "units", multiple=True, metavar="UNIT", help="Only messages of this unit; repeatable.")
@click.option(
    "-n", "--lines", metavar="N", type=click.IntRange(0), help="Only the last N. Default: all; with -f: 10."
)
@click.option("-p", "--priority", type=click.Choice(_PRIORITIES), help="Only messages at least this important.")
@click.option("-S", "--since", metavar="TIME", help="Only messages since this time.")
@click.option("-b", "--boot", is_flag=True, help="Only messages since the last boot.")
@click.pass_obj
def command(
    options: Options,
    guest: str,
    follow: bool,
    units: tuple[str, ...],
    lines: int | None,
    priority: str | None,
    since: str | None,
    boot: bool,
) -> int:
    """Print the journal of the guest."""
    argv = ["journalctl", "--no-pager", "--quiet", f"--output={'json' if options.json else 'short'}"]
    argv += [f"--unit={unit}" for unit in units]
    argv += ["--follow"] * follow + ["--boot"] * boot
    for name, value in (("lines", lines), ("priority", priority), ("since", since)):
        if value is not None:
            argv.append(f"--{name}={value}")
    if is_plain(guest):

        async def work(connected: Guest) -> int:
            if options.json:
                return await _print_objects(connected, argv, options)
            text = GuestText()
            return await _run(connected, argv, text.write)

        return ask(options, guest, work)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        splitter = LineSplitter(printer)
        async with options.connect_among(known) as connected:
            try:
                await _run(connected, argv, splitter.add)
            finally:
                await splitter.end()
        return DONE

    return fan_out(options, select(guest), on_one)


async def _run(guest: Guest, argv: list[str], write: Callable[[bytes], Awaitable[None]]) -> int:
    from phoenix_ga.cli.systemd import check, follow_program

    status, errors = await follow_program(guest, argv, write)
    check(status, errors)
    return status


async def _print_objects(guest: Guest, argv: list[str], options: Options) -> int:
    """Print messages as JSON that is ours: that of the guest may hold anything."""
    from phoenix_ga.wire.json_text import JsonError, decode_json

    rest = bytearray()

    async def write(data: bytes) -> None:
        rest.extend(data)
        end = rest.rfind(b"\n") + 1
        lines = bytes(rest[:end]).splitlines()
        del rest[:end]
        if len(rest) > _LINE_MAX:
            rest.clear()
        for line in lines:
            try:
                options.show(decode_json(line), "")
            except JsonError:
                options.show({"invalid": line.decode("utf-8", "backslashreplace")}, "")

    return await _run(guest, argv, write)
