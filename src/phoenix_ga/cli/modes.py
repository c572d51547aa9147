"""Permissions as chmod(1) takes them: octal, or symbolic such as `u=rw,go-w`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

# What `+w` without a letter before it leaves alone; the agent has no umask of its own to ask for.
UMASK = 0o022
_ALL = 0o7777
_SET_ID = 0o6000
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": _ALL}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": 0o111, "X": 0, "s": _SET_ID, "t": 0o1000}
_COPIED = {"u": 0o700, "g": 0o070, "o": 0o007}
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_DIGITS_MAX = 5


@dataclass(frozen=True)
class _Change:
    """affected: the bits that `who` allows, 0 where nobody was named. copied: the bits to copy from, or 0.
    mentioned: the bits that a directory changes even where they are set-ID bits."""

    operator: str
    affected: int
    value: int
    mentioned: int
    copied: int = 0
    execute_if_any: bool = False

    def apply(self, mode: int, is_directory: bool) -> int:
        kept = (_SET_ID if is_directory else 0) & ~self.mentioned
        value = self.value
        if self.copied:
            value = sum(bits for bits in (0o444, 0o222, 0o111) if mode & self.copied & bits)
        elif self.execute_if_any and (is_directory or mode & 0o111):
            value |= 0o111
        value &= (self.affected or ~UMASK) & ~kept
        if self.operator == "+":
            return mode | value
        if self.operator == "-":
            return mode & ~value
        preserved = (~self.affected if self.affected else 0) | kept
        return (mode & preserved) | value


@dataclass(frozen=True)
class Mode:
    """A change of permissions."""

    changes: tuple[_Change, ...]

    @classmethod
    def parse(cls, text: str) -> Mode:
        """Return the change that a word means. Raises click.UsageError."""
        if re.fullmatch(r"[0-7]+", text):
            return cls((_octal(text),))
        changes = []
        for clause in text.split(","):
            match = _CLAUSE.fullmatch(clause)
            if match is None:
                raise click.UsageError(f"{text!r} is no mode; write one such as 644, u=rw,go=r or a+x.")
            affected = 0
            for letter in match[1]:
                affected |= _WHO[letter]
            changes += [_symbolic(affected, *action) for action in _ACTION.findall(match[2])]
        return cls(tuple(changes))

    def apply(self, mode: int, is_directory: bool) -> int:
        """Return the permission bits of what has `mode` now."""
        for change in self.changes:
            mode = change.apply(mode, is_directory)
        return mode & _ALL


def _octal(text: str) -> _Change:
    value = int(text, 8)
    if value > _ALL:
        raise click.UsageError(f"{text!r} is no mode: the highest is 7777.")
    # Four digits leave the set-ID bits of a directory, as chmod(1) does.
    mentioned = _ALL if len(text) >= _DIGITS_MAX else value & _SET_ID | 0o1777
    return _Change("=", _ALL, value, mentioned)


def _symbolic(affected: int, operator: str, letters: str) -> _Change:
    if letters in _COPIED:
        return _Change(operator, affected, 0, 0, copied=_COPIED[letters])
    value = 0
    for letter in letters:
        value |= _PERMISSIONS[letter]
    mentioned = affected & value if affected else value
    return _Change(operator, affected, value, mentioned, execute_if_any="X" in letters)
