"""`phoenixctl ls`"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from errno import E2BIG
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.errors import REFUSED, complain, explain
from phoenix_ga.cli.file_status import MODE_BITS, device_numbers, group_of, owner_of, status_to_json
from phoenix_ga.cli.output import escape, moment
from phoenix_ga.cli.paths import PATHS

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

# A guest may show a tree that has no end.
_ENTRIES_MAX = 500_000


_PATH_MAX = 4096


@dataclass(frozen=True)
class _Form:
    """What is asked for of a listing."""

    names_only: bool
    hidden: bool
    itself: bool
    recursive: bool
    order: str
    reverse: bool
    numeric: bool
    titled: bool


@dataclass(frozen=True)
class _Listed:
    """The entries of a directory, or where `path` is None what was asked for itself."""

    path: str | None
    text: str
    values: list[dict[str, Any]]


@dataclass(frozen=True)
class _Listing:
    """All that was asked for of one path. troubled: some of it could not be read."""

    parts: list[_Listed]
    troubled: bool


@click.command(
    short_help="List directories of the guest.",
    epilog="""\b
The listing is that of `ls -l`, with times of this host's zone. A symbolic link that is named
is followed where it leads to a directory, unless -d is there. What can't be read is named on
stderr, and the exit status is 1 then.

\b
Examples:
  $ phoenixctl ls unix:/run/web1.sock:/etc
  $ phoenixctl ls -atr unix:/run/web1.sock:/var/log
""",
)
@PATHS
@click.option("-a", "-A", "--all", "hidden", is_flag=True, help="Names that begin with a dot as well.")
@click.option("-d", "--directory", "itself", is_flag=True, help="Directories themselves, not what is in them.")
@click.option("-R", "--recursive", is_flag=True, help="All that is below as well.")
@click.option("-S", "order", flag_value="size", help="Sort by size, the largest first.")
@click.option("-t", "order", flag_value="time", help="Sort by the time of the last change, the newest first.")
@click.option("-U", "order", flag_value="none", help="Do not sort.")
@click.option("-r", "--reverse", is_flag=True, help="Sort the other way round.")
@click.option("-n", "--numeric", is_flag=True, help="Numbers of owners and groups instead of names.")
@click.option("-1", "names_only", is_flag=True, help="Names alone, one a line.")
@click.option("-l", "long", is_flag=True, help="The long form; it is what comes without it, too.")
@click.pass_obj
def command(options: Options, /, paths: tuple[str, ...], order: str | None, long: bool, **flags: bool) -> int:
    """List files and directories of the guest, in the form of `ls -l`."""
    form = _Form(order=order or "name", titled=len(paths) > 1 or flags["recursive"], **flags)

    async def work(guest: Guest, path: str) -> _Listing:
        troubles: list[str] = []
        parts = [listed async for listed in _list(guest, path, form, troubles)]
        return _Listing(parts, bool(troubles))

    def describe(path: str, found: _Listing) -> tuple[dict[str, Any], str]:
        text = ("\n\n" if form.titled else "\n").join(listed.text for listed in found.parts)
        return {"path": path, "entries": [value for listed in found.parts for value in listed.values]}, text

    return each_path(options, paths, work, describe, lambda found: REFUSED if found.troubled else 0)


async def _list(guest: Guest, path: str, form: _Form, troubles: list[str]) -> AsyncIterator[_Listed]:
    from phoenix_ga.client import GuestRefused

    status = await guest.file_stat(path, names=True)
    if form.itself or not await _leads_to_directory(guest, path, status):
        yield _listed(None, [(path, status)], form)
        return
    waiting = [path]
    left = _ENTRIES_MAX
    while waiting:
        directory = waiting.pop()
        try:
            entries = await guest.directory_list(directory, names=True)
        except GuestRefused as error:
            if directory is path:
                raise
            troubles.append(directory)
            complain(explain(error)[1])
            continue
        left -= len(entries) + 1
        if left < 0:
            raise OSError(E2BIG, f"more than {_ENTRIES_MAX} entries; list a directory below it", path)
        shown = _sorted([entry for entry in entries if form.hidden or not entry.name.startswith(".")], form)
        named = [(f"{directory.rstrip('/')}/{entry.name}", entry) for entry in shown]
        yield _listed(directory, named, form)
        if form.recursive:
            waiting += [below for below, entry in reversed(named) if _may_enter(below, entry)]


async def _leads_to_directory(guest: Guest, path: str, status: FileStatus) -> bool:
    if not stat.S_ISLNK(status.mode & MODE_BITS):
        return status.is_directory
    from phoenix_ga.client import GuestRefused

    try:
        return (await guest.file_stat(path, follow=True)).is_directory
    except GuestRefused:
        return False


def _may_enter(path: str, entry: FileStatus) -> bool:
    # A guest that shows a directory in itself for ever has shown enough where no path is longer.
    if not entry.is_directory or len(path) > _PATH_MAX:
        return False
    return "/" not in entry.name and entry.name not in ("", ".", "..")


def _sorted(entries: list[FileStatus], form: _Form) -> list[FileStatus]:
    keys: dict[str, Callable[[FileStatus], Any]] = {
        "name": lambda entry: entry.name,
        "size": lambda entry: (-entry.size, entry.name),
        "time": lambda entry: (-entry.modified, entry.name),
    }
    if form.order in keys:
        entries = sorted(entries, key=keys[form.order])
    return entries[::-1] if form.reverse else entries


def _listed(directory: str | None, named: Sequence[tuple[str, FileStatus]], form: _Form) -> _Listed:
    shown = [(path if directory is None else entry.name, entry) for path, entry in named]
    lines = [_name(name, entry, form) for name, entry in shown]
    if not form.names_only:
        columns = [_columns(entry, form) for _, entry in shown]
        widths = [max(map(len, column)) for column in zip(*columns)]
        lines = [" ".join([*_aligned(cells, widths), name]) for cells, name in zip(columns, lines)]
        if directory is not None:
            lines.insert(0, f"total {sum(entry.blocks for _, entry in shown) // 2}")
    if directory is not None and form.titled:
        lines.insert(0, f"{escape(directory)}:")
    return _Listed(directory, "\n".join(lines), [status_to_json(path, entry) for path, entry in named])


def _columns(entry: FileStatus, form: _Form) -> list[str]:
    mode = entry.mode & MODE_BITS
    user, group = (str(entry.uid), str(entry.gid)) if form.numeric else (owner_of(entry), group_of(entry))
    size = str(entry.size)
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
    # The owners to the left, as text; the numbers to the right.
    return [
        cell.ljust(width) if number in (0, 2, 3) else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths))
    ]


def _name(name: str, entry: FileStatus, form: _Form) -> str:
    mode = entry.mode & MODE_BITS
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
