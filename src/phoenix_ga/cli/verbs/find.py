"""`phoenixctl find`"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.file_status import status_to_json
from phoenix_ga.cli.numbers import parse_size
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

_TYPES: Final = "fdlbcps"
_AGES: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LARGEST: Final = 2**63 - 1


@verb(
    short_help="Search directories of the guest.",
    epilog="""\b
This is a part of find(1), with the same names; all conditions must be met:
  -name PATTERN   the last part of the path matches; quote the pattern
  -type LETTERS   f regular file, d directory, l symbolic link, b c p s others; several: fd
  -size +N, -N    at least, or at most, N bytes, with the suffixes K, M, G and T
  -mtime +N, -N   modified more, or less, than N days ago; with the suffixes s, m, h or d
  -maxdepth N     at most N levels below the path
  -xdev           do not enter other filesystems
  -print0         end each path with a zero byte, and do not escape it
Symbolic links are not followed, except the path itself. If a directory cannot be read, the rest
is searched, and the exit status is 1.

\b
Examples:
  $ phoenixctl find web1:/var/log -name '*.gz' -mtime +30
  $ phoenixctl find -xdev -type f -size +100M web1:/
""",
)
@PATHS
@click.option("-name", "--name", metavar="PATTERN", default="", help="Pattern for the name.")
@click.option("-type", "--type", "types", metavar="LETTERS", default="", help="Types of file.")
@click.option("-size", "--size", "sizes", metavar="+N|-N", multiple=True, help="At least, or at most, N bytes.")
@click.option(
    "-mtime", "--mtime", "ages", metavar="+N|-N", multiple=True, help="Modified before, or after, N days ago."
)
@click.option("-maxdepth", "--maxdepth", "depth", metavar="N", type=click.IntRange(0), help="Deepest level.")
@click.option("-xdev", "--xdev", "one_filesystem", is_flag=True, help="Do not enter other filesystems.")
@click.option("-print0", "--print0", "zero", is_flag=True, help="End each path with a zero byte; do not escape it.")
@click.pass_obj
def command(
    options: Options,
    paths: tuple[str, ...],
    name: str,
    types: str,
    sizes: tuple[str, ...],
    ages: tuple[str, ...],
    depth: int | None,
    one_filesystem: bool,
    zero: bool,
) -> int:
    """Search directories of the guest for files that meet conditions."""
    from phoenix_ga.cli.walking import print_entries

    if set(types) - set(_TYPES):
        raise click.UsageError(f"LETTERS of -type must be some of {_TYPES}, not {types!r}.")
    if zero and not all(is_plain(guest_path(word)[0]) for word in paths):
        raise click.UsageError("-print0 works with one guest only.")
    conditions: dict[str, Any] = {"name": name, "types": types, "one_filesystem": one_filesystem}
    conditions["depth"] = -1 if depth is None else depth
    conditions["minimum"], conditions["maximum"] = _range(sizes, "-size", parse_size, 0, _LARGEST)
    conditions["older"], conditions["younger"] = _range(ages, "-mtime", _seconds, 0, 0)

    def describe(entry: FileStatus) -> tuple[Any, str]:
        text = entry.name if zero else escape(entry.name)
        return status_to_json(entry.name, entry), text

    def start(guest: Guest, path: str) -> Any:
        return guest.files.find(path, **conditions)

    return print_entries(options, paths, start, describe, zero)


def _range(
    words: tuple[str, ...], option: str, parse: Callable[[str], int], least: int, most: int
) -> tuple[int, int]:
    """Return the bounds that `+N` and `-N` set. Raises UsageError."""
    for word in words:
        if word[:1] not in ("+", "-") or not word:
            raise click.UsageError(f"{option} takes +N or -N, not {word!r}.")
        if word[0] == "+":
            least = parse(word[1:])
        else:
            most = parse(word[1:])
    return least, most


def _seconds(text: str) -> int:
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _AGES else (text, "d")
    if not (number.isascii() and number.isdecimal()) or not 0 < int(number) * _AGES[unit] <= _LARGEST:
        raise click.UsageError(f"{text!r} is not an age such as 7, 7d, 12h, 30m or 10s.")
    return int(number) * _AGES[unit]
