"""The lines of `ls`."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.file_status import device_numbers, group_of, mode_of, owner_of, status_to_json
from phoenix_ga.cli.output import escape, moment, short_size, to_json

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus

# Between the columns of a line that is not aligned yet: escaped text cannot hold it.
_BETWEEN: Final = "\0"
# Mode, links, user, group, size and time; the name follows.
_TO_THE_LEFT: Final = (True, False, True, True, False, False)
_MINUTE: Final = 60_000_000_000


@dataclass(frozen=True)
class ListingFormat:
    """The options of a listing.

    Attributes:
        order: "name", "size", "time" or "none".
        titled: print the names of directories.
        json: print objects.
        coloured: colour names.
        itself: list directories themselves.
    """

    order: str
    titled: bool
    json: bool
    coloured: bool
    names_only: bool
    hidden: bool
    itself: bool
    recursive: bool
    reverse: bool
    numeric: bool
    human: bool


class Lines:
    """Makes the lines of one directory in two steps, because columns are aligned with those of later lines.

    What `prepare` returns takes little memory.
    """

    def __init__(self, form: ListingFormat) -> None:
        self._form = form
        self._widths = [0] * len(_TO_THE_LEFT)

    def prepare(self, path: str, name: str, entry: FileStatus) -> str:
        """Return the text for an entry, before the columns are aligned."""
        form = self._form
        if form.json:
            return to_json(status_to_json(path, entry))
        name = _name(name, entry, form)
        if form.names_only:
            return name
        columns = _columns(entry, form)
        for number, column in enumerate(columns):
            if len(column) > self._widths[number]:
                self._widths[number] = len(column)
        return _BETWEEN.join([*columns, name])

    def align(self, prepared: Iterable[str]) -> str:
        """Return lines, or objects with commas between them, aligned with all that were prepared so far."""
        if self._form.json:
            return ", ".join(prepared)
        if self._form.names_only:
            return "".join(f"{line}\n" for line in prepared)
        columns = (f"%{'-' * left}{width}s" for width, left in zip(self._widths, _TO_THE_LEFT))
        line = " ".join([*columns, "%s\n"])
        return "".join(line % tuple(each.split(_BETWEEN)) for each in prepared)

    def heading(self, directory: str, blocks: int | None) -> str:
        """Return what precedes the entries of a directory. blocks: in them together; None if that is not known."""
        form = self._form
        if form.json:
            return ""
        text = f"{escape(directory)}:\n" if form.titled else ""
        if blocks is not None and not form.names_only:
            text += f"total {short_size(blocks * 512) if form.human else blocks // 2}\n"
        return text


def _columns(entry: FileStatus, form: ListingFormat) -> list[str]:
    mode = mode_of(entry)
    user, group = (str(entry.uid), str(entry.gid)) if form.numeric else (owner_of(entry), group_of(entry))
    size = short_size(entry.size) if form.human else str(entry.size)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        size = ", ".join(map(str, device_numbers(entry.special_device)))
    time = _minute(entry.modified // _MINUTE)
    return [stat.filemode(mode), str(entry.links), escape(user), escape(group), size, time]


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> str:
    return moment(minutes * 60)


def _name(name: str, entry: FileStatus, form: ListingFormat) -> str:
    text = escape(name)
    if form.coloured:
        text = _coloured(text, mode_of(entry))
    return f"{text} -> {escape(entry.target)}" if entry.target and not form.names_only else text


def _coloured(text: str, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return click.style(text, fg="blue", bold=True)
    if stat.S_ISLNK(mode):
        return click.style(text, fg="cyan", bold=True)
    if stat.S_ISREG(mode) and mode & 0o111:
        return click.style(text, fg="green", bold=True)
    return text
