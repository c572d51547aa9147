"""Lists of numbers such as `2-3,5`."""

from __future__ import annotations

import re

import click

_MAX = 65536


def parse_numbers(text: str) -> set[int]:
    """Return the numbers of a list. Raises UsageError."""
    if not re.fullmatch(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*", text):
        raise click.UsageError(f"{text!r} is not a list of numbers such as 1 or 2-3,5.")
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) >= _MAX:
            raise click.UsageError(f"{text!r} has a number above {_MAX - 1}.")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers
