"""Permissions in the syntax of chmod(1): octal, or symbolic such as `u=rw,go-w`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

# Bits that `+w` without a leading letter does not change; the umask in the guest is not known.
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
    """One change. affected: the bits that the letters before the operator select, 0 without letters.

    copied: the bits to copy from, or 0. mentioned: the bits that also change on a directory if they are set-ID bits.
    """

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
        """Parse a mode. Raises click.UsageError."""
        if re.fullmatch(r"[0-7]+", text):
            return cls((_octal(text),))
        changes = []
        for clause in text.split(","):
            match = _CLAUSE.fullmatch(clause)
            if match is None:
                raise click.UsageError(f"{text!r} is not a mode such as 644, u=rw,go=r or a+x.")
            affected = 0
            for letter in match[1]:
                affected |= _WHO[letter]
            changes += [_symbolic(affected, *action) for action in _ACTION.findall(match[2])]
        return cls(tuple(changes))

    def apply(self, mode: int, is_directory: bool) -> int:
        """Return the new permission bits of a file that has `mode`."""
        for change in self.changes:
            mode = change.apply(mode, is_directory)
        return mode & _ALL


def _octal(text: str) -> _Change:
    value = int(text, 8)
    if value > _ALL:
        raise click.UsageError(f"{text!r} is not a mode: the highest is 7777.")
    # As with chmod(1), four digits or less keep the set-ID bits of a directory.
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
