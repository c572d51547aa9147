"""`phoenixctl cat`"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_place, on_several
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.cli.paths import PATHS, guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@click.command(
    epilog="""\b
Of several guests, each line has the name of its guest before it, and control characters are
shown as escapes.

\b
Examples:
  $ phoenixctl cat unix:/run/web1.sock:/etc/hosts unix:/run/web2.sock:/etc/hosts
  $ phoenixctl cat 'web*:/etc/hostname'
"""
)
@PATHS
@click.pass_obj
def command(options: Options, paths: tuple[str, ...]) -> int:
    """Write what is in paths of the guest to stdout, as it is."""
    from phoenix_ga.cli import stdio

    places = [guest_path(word) for word in paths]
    if all(is_plain(guest) for guest, _ in places):
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


async def _read(guest: Guest, path: str, take: Callable[[bytes], Awaitable[None]]) -> None:
    async with (await guest.file_get(path, digest=False)).stream as stream:
        while data := await stream.read():
            await take(data)
