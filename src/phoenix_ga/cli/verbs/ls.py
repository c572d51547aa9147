"""`phoenixctl ls`"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from errno import E2BIG
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.errors import REFUSED, GuestProblem, about_guest, report
from phoenix_ga.cli.file_status import device_numbers, group_of, mode_of, owner_of, status_to_json
from phoenix_ga.cli.output import escape, moment, short_size
from phoenix_ga.cli.verb import verb
from phoenix_ga.wire.patterns import is_pattern

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

# A malicious guest may show an endless tree.
_ENTRIES_MAX = 500_000
_PATH_MAX = 4096


@dataclass(frozen=True)
class _Format:
    """The options of a listing. itself: list directories themselves. titled: print the names of directories."""

    names_only: bool
    hidden: bool
    itself: bool
    recursive: bool
    order: str
    reverse: bool
    numeric: bool
    human: bool
    titled: bool


@dataclass(frozen=True)
class _Listed:
    """The listing of a directory, or of the path itself."""

    text: str
    values: list[dict[str, Any]]


@dataclass(frozen=True)
class _Listing:
    """The listing of a path. failed: a part of it could not be read."""

    parts: list[_Listed]
    failed: bool


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
@click.option("-U", "order", flag_value="none", help="Do not sort.")
@click.option("-1", "names_only", is_flag=True, help="Print names only, one a line.")
@click.pass_obj
def command(options: Options, /, paths: tuple[str, ...], order: str | None, long: bool, **flags: bool) -> int:
    """List files and directories in the guest, as `ls -l` does."""
    titled = len(paths) > 1 or flags["recursive"] or any(map(is_pattern, paths))
    form = _Format(order=order or "name", titled=titled, **flags)

    async def work(guest: Guest, path: str) -> _Listing:
        unreadable: list[str] = []
        parts = [listed async for listed in _list(guest, path, form, unreadable)]
        return _Listing(parts, bool(unreadable))

    def describe(path: str, found: _Listing) -> tuple[dict[str, Any], str]:
        text = ("\n\n" if form.titled else "\n").join(listed.text for listed in found.parts)
        return {"path": path, "entries": [value for listed in found.parts for value in listed.values]}, text

    return each_path(options, paths, work, describe, lambda found: REFUSED if found.failed else 0)


async def _list(guest: Guest, path: str, form: _Format, unreadable: list[str]) -> AsyncIterator[_Listed]:
    from phoenix_ga.client import CommandError

    status = await guest.files.stat(path, names=True)
    if form.itself or not await _leads_to_directory(guest, path, status):
        yield _listed(None, [(path, status)], form)
        return
    waiting = [path]
    left = _ENTRIES_MAX
    while waiting:
        directory = waiting.pop()
        try:
            with about_guest(guest.name):
                entries = await guest.files.list(directory, names=True)
        except CommandError as error:
            if directory is path:
                raise
            unreadable.append(directory)
            report(error)
            continue
        left -= len(entries) + 1
        if left < 0:
            raise GuestProblem(E2BIG, f"more than {_ENTRIES_MAX} entries; list a subdirectory", path)
        shown = _sorted([entry for entry in entries if form.hidden or not entry.name.startswith(".")], form)
        named = [(f"{directory.rstrip('/')}/{entry.name}", entry) for entry in shown]
        yield _listed(directory, named, form)
        if form.recursive:
            waiting += [below for below, entry in reversed(named) if _may_enter(below, entry)]


async def _leads_to_directory(guest: Guest, path: str, status: FileStatus) -> bool:
    if not stat.S_ISLNK(mode_of(status)):
        return status.is_directory
    from phoenix_ga.client import CommandError

    try:
        return (await guest.files.stat(path, follow=True)).is_directory
    except CommandError:
        return False


def _may_enter(path: str, entry: FileStatus) -> bool:
    # A directory that contains itself ends at the longest path.
    if not entry.is_directory or len(path) > _PATH_MAX:
        return False
    return "/" not in entry.name and entry.name not in ("", ".", "..")


def _sorted(entries: list[FileStatus], form: _Format) -> list[FileStatus]:
    keys: dict[str, Callable[[FileStatus], Any]] = {
        "name": lambda entry: entry.name,
        "size": lambda entry: (-entry.size, entry.name),
        "time": lambda entry: (-entry.modified, entry.name),
    }
    if form.order in keys:
        entries = sorted(entries, key=keys[form.order])
    return entries[::-1] if form.reverse else entries


def _listed(directory: str | None, named: Sequence[tuple[str, FileStatus]], form: _Format) -> _Listed:
    shown = [(path if directory is None else entry.name, entry) for path, entry in named]
    lines = [_name(name, entry, form) for name, entry in shown]
    if not form.names_only:
        columns = [_columns(entry, form) for _, entry in shown]
        widths = [max(map(len, column)) for column in zip(*columns)]
        lines = [" ".join([*_aligned(cells, widths), name]) for cells, name in zip(columns, lines)]
        if directory is not None:
            blocks = sum(entry.blocks for _, entry in shown)
            lines.insert(0, f"total {short_size(blocks * 512) if form.human else blocks // 2}")
    if directory is not None and form.titled:
        lines.insert(0, f"{escape(directory)}:")
    return _Listed("\n".join(lines), [status_to_json(path, entry) for path, entry in named])


def _columns(entry: FileStatus, form: _Format) -> list[str]:
    mode = mode_of(entry)
    user, group = (str(entry.uid), str(entry.gid)) if form.numeric else (owner_of(entry), group_of(entry))
    size = short_size(entry.size) if form.human else str(entry.size)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        size = ", ".join(map(str, device_numbers(entry.special_device)))
    return [
        stat.filemode(mode),
        str(entry.links),
        escape(user),
        escape(group),
        size,
        moment(_seconds(entry.modified)),
    ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if number in (0, 2, 3) else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths))
    ]


def _name(name: str, entry: FileStatus, form: _Format) -> str:
    mode = mode_of(entry)
    text = escape(name)
    if stat.S_ISDIR(mode):
        text = click.style(text, fg="blue", bold=True)
    elif stat.S_ISLNK(mode):
        text = click.style(text, fg="cyan", bold=True)
    elif stat.S_ISREG(mode) and mode & 0o111:
        text = click.style(text, fg="green", bold=True)
    return f"{text} -> {escape(entry.target)}" if entry.target and not form.names_only else text


def _seconds(nanoseconds: int) -> int:
    return nanoseconds // 1_000_000_000
