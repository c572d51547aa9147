"""`phoenixctl tail`"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_place, on_several
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.cli.guest_text import GuestText
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Print the end of files in the guest, and follow them.",
    epilog="""\b
With -f, what is appended is printed until Ctrl-C, also after the file was truncated, or renamed and
made again, as log files are. The guest is not polled: its kernel reports changes.

\b
On a terminal, control characters are escaped, unless -r is given. With several guests, they always
are, and each line is prefixed with the guest's name.

\b
Examples:
  $ phoenixctl tail web1:/var/log/syslog
  $ phoenixctl tail -n 100 'web*:/var/log/syslog'
""",
)
@PATHS
@click.option("-f", "--follow", is_flag=True, help="Print what is appended, until Ctrl-C.")
@click.option("-n", "--lines", metavar="N", type=click.IntRange(0), default=10, help="Lines to begin with (10).")
@click.option("-r", "--raw", is_flag=True, help="Do not escape control characters on a terminal.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], follow: bool, lines: int, raw: bool) -> int:
    """Print the last lines of files in the guest."""
    places = [guest_path(word) for word in paths]
    if follow and len(places) > 1:
        raise click.UsageError("-f follows one file, which may be in several guests.")
    if all(is_plain(guests) for guests, _ in places):
        text = GuestText(raw)

        async def write(guest: Guest, path: str) -> int:
            await _read(guest, path, lines, follow, text.write)
            return 0

        return run(each_place(options, places, write))

    async def print_lines(guest: Guest, path: str, printer: GuestPrinter) -> int:
        splitter = LineSplitter(printer)
        try:
            await _read(guest, path, lines, follow, splitter.add)
        finally:
            await splitter.end()
        return 0

    return on_several(options, places, print_lines)


async def _read(guest: Guest, path: str, lines: int, follow: bool, write: Callable[[bytes], Awaitable[None]]) -> None:
    from phoenix_ga.cli.streams import read_in_time

    async with guest.files.tail(path, lines, follow=follow) as stream:
        while data := await (stream.read_chunk() if follow else read_in_time(guest, stream)):
            await write(data)
