"""What `find` and `du` have in common: entries that arrive one by one, and what could not be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from phoenix_ga.cli import stdio
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_place, on_several
from phoenix_ga.cli.errors import REFUSED, complain
from phoenix_ga.cli.guest_printer import GuestPrinter, SharedOutput
from phoenix_ga.cli.output import to_json
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain

if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.client import DirectoryEntries, FileStatus, Guest


def print_entries(
    options: Options,
    paths: tuple[str, ...],
    start: Callable[[Guest, str], AbstractAsyncContextManager[DirectoryEntries]],
    describe: Callable[[FileStatus], tuple[Any, str]],
    zero: bool = False,
) -> int:
    """Print the entries for each path as they arrive; return the exit status.

    Args:
        describe: Returns a value for JSON and a text for an entry.
        zero: End each text with a zero byte in place of a newline, and print its bytes; for one guest only.
    """
    places = [guest_path(word) for word in paths]
    output = SharedOutput(options.json)

    async def walk(guest: Guest, path: str, write: Callable[[list[tuple[Any, str]]], Awaitable[None]]) -> int:
        async with start(guest, path) as entries:
            while page := await entries.read_page():
                await write([describe(entry) for entry in page])
            problems = await entries.problems()
        for problem in problems:
            complain(problem, REFUSED)
        return REFUSED if problems else 0

    stdout = stdio.Output()
    if all(is_plain(guests) for guests, _ in places):

        async def write(found: list[tuple[Any, str]]) -> None:
            if zero and not options.json:
                await stdout.write(b"".join(_bytes(text) + b"\0" for _, text in found))
            else:
                await output.write("".join(f"{to_json(value) if options.json else text}\n" for value, text in found))

        return run(each_place(options, places, lambda guest, path: walk(guest, path, write)))

    async def on_one(guest: Guest, path: str, printer: GuestPrinter) -> int:
        async def write(found: list[tuple[Any, str]]) -> None:
            if options.json:
                for value, text in found:
                    await printer.result(value, text)
            else:
                await printer.result(None, "\n".join(text for _, text in found))

        return await walk(guest, path, write)

    return on_several(options, places, on_one)


def _bytes(path: str) -> bytes:
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # No path: the guest lies.
        return path.encode("utf-8", "backslashreplace")
