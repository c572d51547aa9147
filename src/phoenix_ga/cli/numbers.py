"""Lists of numbers such as `2-3,5`, and sizes such as `10G`."""

from __future__ import annotations

import re

import click

_MAX = 65536
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE_MAX = 2**63 - 1


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


def parse_size(text: str) -> int:
    """Return a number of bytes that may have one of the suffixes K, M, G and T. Raises UsageError."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "")
    if not (number.isascii() and number.isdecimal()) or int(number) * _UNITS[unit] > _SIZE_MAX:
        raise click.UsageError(f"SIZE {text!r} is not a number of bytes, such as 4096 or 10G.")
    return int(number) * _UNITS[unit]
