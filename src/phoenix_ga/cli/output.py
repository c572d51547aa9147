"""Text for terminals and for programs. Whatever a guest sends is escaped before a terminal sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click


def escape(text: str) -> str:
    """Return `text` with all characters escaped that are not printable."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def to_json(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON in ASCII without control characters."""
    import json

    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return rows of cells in aligned columns, each cell escaped."""
    cells = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells)
    return "\n".join(indent + line.rstrip() for line in lines)


def size(count: float) -> str:
    """Return a number of bytes such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def short_size(count: float) -> str:
    """Return a number of bytes as `ls -h` shows it, such as `1.5G`."""
    units = iter("KMGTPE")
    unit = ""
    while count >= 1024:
        count /= 1024
        unit = next(units)
    return f"{count:.1f}{unit}" if unit and count < 10 else f"{count:.0f}{unit}"


def moment(seconds: int, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return seconds since the epoch as a local time, or the bare number if it is out of range."""
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def duration(seconds: int) -> str:
    """Return a duration such as `3 days 4 h` or `56 min`."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} day{'s' * (days != 1)} {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"


def heading(text: str) -> str:
    """Return a heading, bold on a terminal that may have colours."""
    return click.style(text, bold=True)


def titled_table(titles: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Return a table with a heading, or the text `empty` if it has no rows."""
    if not rows:
        return empty
    first, *rest = table([titles, *rows], indent="").splitlines()
    return "\n".join([heading(first), *rest])
