"""Text for terminals and for other programs. What a guest says is never trusted to a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click


def escape(text: str) -> str:
    """Return `text` with all that is not printable, control characters above all, as escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def to_json(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON text in ASCII, in which no control character is left."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return rows of cells in aligned columns, each cell escaped."""
    cells = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells)
    return "\n".join(indent + line.rstrip() for line in lines)


def size(count: float) -> str:
    """Return a number of bytes for readers, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def moment(seconds: int, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a time since the epoch for readers, in this host's zone; the bare number where it is none."""
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def duration(seconds: int) -> str:
    """Return a time for readers, such as `3 days 04:05`."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    return f"{days} days {hours:02d}:{rest // 60:02d}" if days else f"{hours:02d}:{rest // 60:02d}"


def heading(text: str) -> str:
    """Return a heading, bold on a terminal that may have colours."""
    return click.style(text, bold=True)
