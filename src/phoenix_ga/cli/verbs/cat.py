"""`phoenixctl cat`"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli import stdio
from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_place, on_several
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Print files in the guest.",
    epilog="""\b
The content is printed unchanged. With several guests, each line is prefixed with the guest's
name, and control characters are escaped.

\b
Examples:
  $ phoenixctl cat web1:/etc/hosts db1:/etc/hosts
  $ phoenixctl cat 'web*:/etc/hostname'
""",
)
@PATHS
@click.pass_obj
def command(options: Options, paths: tuple[str, ...]) -> int:
    """Print files in the guest to stdout."""
    places = [guest_path(word) for word in paths]
    if all(is_plain(guests) for guests, _ in places):
        output = stdio.Output()

        async def write(guest: Guest, path: str) -> int:
            await _read(guest, path, output.write)
            return 0

        return run(each_place(options, places, write))

    async def print_lines(guest: Guest, path: str, printer: GuestPrinter) -> int:
        lines = LineSplitter(printer)
        try:
            await _read(guest, path, lines.add)
        finally:
            await lines.end()
        return 0

    return on_several(options, places, print_lines)


async def _read(guest: Guest, path: str, write: Callable[[bytes], Awaitable[None]]) -> None:
    from phoenix_ga.cli.streams import read_in_time

    async with guest.files.get_stream(path, digest=False) as opened:
        while data := await read_in_time(guest, opened.stream):
            await write(data)
