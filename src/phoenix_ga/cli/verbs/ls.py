"""`phoenixctl ls`"""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from errno import E2BIG
from itertools import islice
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_place, on_several
from phoenix_ga.cli.errors import REFUSED, GuestProblem, about_guest, report
from phoenix_ga.cli.file_status import mode_of
from phoenix_ga.cli.guest_printer import GuestPrinter, SharedOutput, is_coloured
from phoenix_ga.cli.listing import Lines, ListingFormat
from phoenix_ga.cli.output import to_json
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.spooled_sort import Record, SpooledSort
from phoenix_ga.cli.verb import verb
from phoenix_ga.wire.patterns import is_pattern

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

_PATH_MAX = 4096
# Lines that are printed at once.
_LINES = 500
# A malicious guest may show an endless tree: characters of the directories that are still to be listed, and of the
# listings that are shown together with those of other guests.
_WAITING_MAX = 64 * 1024 * 1024
_TEXT_MAX = 64 * 1024 * 1024


@verb(
    short_help="List directories in the guest.",
    context_settings={"help_option_names": ["--help"]},
    epilog="""\b
The format is that of `ls -l`, with times in the time zone of this host. A symbolic link to a
directory is followed if it is an argument, unless -d is given. Directories that cannot be read
are reported on stderr, and the exit status is 1.

\b
Examples:
  $ phoenixctl ls web1:/etc
  $ phoenixctl ls -ahtr web1:/var/log
  $ phoenixctl ls 'web1:/etc/*.conf'
""",
)
@PATHS
@click.option("-a", "-A", "--all", "hidden", is_flag=True, help="Include names that begin with a dot.")
@click.option("-d", "--directory", "itself", is_flag=True, help="List directories themselves, not their contents.")
@click.option("-h", "--human-readable", "human", is_flag=True, help="Print sizes such as 1.5K or 23M.")
@click.option("-l", "long", is_flag=True, help="Long format; this is the default.")
@click.option("-n", "--numeric", is_flag=True, help="Print numeric owners and groups.")
@click.option("-r", "--reverse", is_flag=True, help="Reverse the order.")
@click.option("-R", "--recursive", is_flag=True, help="List subdirectories recursively.")
@click.option("-S", "order", flag_value="size", help="Sort by size, largest first.")
@click.option("-t", "order", flag_value="time", help="Sort by modification time, newest first.")
@click.option("-U", "order", flag_value="none", help="Do not sort: print entries as they arrive.")
@click.option("-1", "names_only", is_flag=True, help="Print names only, one a line.")
@click.pass_obj
def command(options: Options, /, paths: tuple[str, ...], order: str | None, long: bool, **flags: bool) -> int:
    """List files and directories in the guest, as `ls -l` does."""
    titled = len(paths) > 1 or flags["recursive"] or any(map(is_pattern, paths))
    form = ListingFormat(order or "name", titled, options.json, is_coloured(), **flags)
    places = [guest_path(word) for word in paths]
    if not all(is_plain(guests) for guests, _ in places):
        return on_several(options, places, lambda guest, path, printer: _list_among(guest, path, printer, form))
    output = SharedOutput(options.json)

    async def work(guest: Guest, path: str) -> int:
        listing = _Listing(guest, path, form)
        async for text in listing.texts():
            await output.write(text)
        return listing.status

    return run(each_place(options, places, work))


async def _list_among(guest: Guest, path: str, printer: GuestPrinter, form: ListingFormat) -> int:
    """List a path of one of several guests: it is printed whole."""
    listing = _Listing(guest, path, form)
    texts: list[str] = []
    left = _TEXT_MAX
    async for text in listing.texts():
        texts.append(text)
        left -= len(text)
        if left < 0:
            raise GuestProblem(E2BIG, "too many entries to be shown with those of other guests", path)
    whole = "".join(texts)
    await printer.result(json.loads(whole) if form.json else None, whole.removesuffix("\n"))
    return listing.status


class _Listing:
    """The listing of a path.

    Attributes:
        status: the exit status, once it is complete.
    """

    def __init__(self, guest: Guest, path: str, form: ListingFormat) -> None:
        self._guest = guest
        self._path = path
        self._form = form
        self.status = 0

    async def texts(self) -> AsyncIterator[str]:
        """Yield the listing in pieces that end with a newline; as JSON, it is one line."""
        status = await self._guest.files.stat(self._path, names=True)
        if self._form.itself or not await _leads_to_directory(self._guest, self._path, status):
            lines = Lines(self._form)
            pieces = _one(lines.align([lines.prepare(self._path, self._path, status)]))
        else:
            pieces = self._tree()
        if not self._form.json:
            async for text in pieces:
                yield text
            return
        before = f'{{"path": {to_json(self._path)}, "entries": ['
        async for text in pieces:
            yield before + text
            before = ", "
        yield "]}\n" if before == ", " else f"{before}]}}\n"

    async def _tree(self) -> AsyncIterator[str]:
        """Yield the listing of the directory, and with -R those of the directories below it."""
        from phoenix_ga.client import CommandError

        waiting = [self._path]
        size = len(self._path)
        separator = ""
        while waiting:
            directory = waiting.pop()
            size -= len(directory)
            below: list[str] = []
            try:
                with about_guest(self._guest.name):
                    async for text in self._directory(directory, below):
                        yield separator + text
                        separator = ""
            except CommandError as error:
                if directory is self._path:
                    raise
                report(error)
                self.status = REFUSED
            separator = "" if self._form.json else "\n"
            size += sum(map(len, below))
            if size > _WAITING_MAX:
                raise GuestProblem(E2BIG, "too many directories; list one of them", self._path)
            waiting += reversed(below)

    async def _directory(self, directory: str, below: list[str]) -> AsyncIterator[str]:
        """Yield the listing of a directory, and note in `below` which ones are to be listed after it."""
        form, lines = self._form, Lines(self._form)
        above = directory.rstrip("/")
        blocks = 0
        async with self._guest.files.scan(directory, names=True) as entries:
            with SpooledSort(form.reverse) as ordered:
                if form.order == "none" and (heading := lines.heading(directory, None)):
                    yield heading
                while page := await entries.read_page():
                    records: list[Record] = []
                    for entry in page:
                        if form.hidden or not entry.name.startswith("."):
                            blocks += entry.blocks
                            records.append(_record(lines, f"{above}/{entry.name}", entry, form))
                    if form.order != "none":
                        for record in records:
                            ordered.add(record)
                    elif records:
                        yield self._printed(lines, above, records, below)
                if form.order != "none" and (heading := lines.heading(directory, blocks)):
                    yield heading
                found = iter(ordered)
                while records := list(islice(found, _LINES)):
                    yield self._printed(lines, above, records, below)

    def _printed(self, lines: Lines, above: str, records: list[Record], below: list[str]) -> str:
        if self._form.recursive:
            below += [
                f"{above}/{name}" for _, name, is_directory, _ in records if is_directory and _may_enter(above, name)
            ]
        return lines.align(text for *_, text in records)


async def _one(text: str) -> AsyncIterator[str]:
    yield text


def _record(lines: Lines, path: str, entry: FileStatus, form: ListingFormat) -> Record:
    rank = -entry.size if form.order == "size" else -entry.modified if form.order == "time" else 0
    return rank, entry.name, entry.is_directory, lines.prepare(path, entry.name, entry)


async def _leads_to_directory(guest: Guest, path: str, status: FileStatus) -> bool:
    if not stat.S_ISLNK(mode_of(status)):
        return status.is_directory
    from phoenix_ga.client import CommandError

    try:
        return (await guest.files.stat(path, follow=True)).is_directory
    except CommandError:
        return False


def _may_enter(above: str, name: str) -> bool:
    # A directory that contains itself ends at the longest path.
    return len(above) + len(name) < _PATH_MAX and "/" not in name and name not in ("", ".", "..")
