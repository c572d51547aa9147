"""The helper process that searches directories, and sums up what they take.

It writes a line for each result to stdout, as `directory-entries` has them, and one for each directory that cannot
be read to stderr. Exit status: 0: complete; 1: something is missing, as reported; 2: it failed.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from fnmatch import fnmatchcase

from phoenix_ga.agent.operations.files import NUMBERS, decode_path, numbers
from phoenix_ga.trees.report import Report
from phoenix_ga.wire.json_text import decode_json, encode_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final

_LINE: Final = "[%s, " + ", ".join(["%s"] * NUMBERS) + "]\n"
# The numbers of these in a line.
_SIZE: Final = 7
_BLOCKS: Final = 9
_PIECE_SIZE: Final = 64 * 1024
# Seconds for which results wait for more.
_DELAY: Final = 0.2
# Each level takes two.
_FILES_MAX: Final = 8192
# Of files with several links, which are remembered to be counted once.
_LINKS_MAX: Final = 500_000
_INCOMPLETE: Final = 1
_FAILED: Final = 2
_TYPES: Final = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "b": stat.S_IFBLK,
    "c": stat.S_IFCHR,
    "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
}


def main() -> None:
    """Run the helper process: `find` or `usage`, the path, and the options as JSON. Never returns."""
    action, path, text = sys.argv[1:]
    options = decode_json(text.encode("ascii"))
    report = Report(_write_line)
    start = os.fsencode(path)
    _raise_file_limit()
    output = Output()
    try:
        walk = Walk(start, options["depth"] if action == "find" else -1, options["one_filesystem"], report)
        if action == "find":
            find(walk, options, output.write)
        else:
            usage(walk, options["depth"], output.write)
        output.flush()
    except BrokenPipeError:
        os._exit(_FAILED)
    except OSError as error:
        report.miss(start, error)
        os._exit(_FAILED)
    os._exit(_INCOMPLETE if report.missing else 0)


class Output:
    """Lines on stdout, collected for a moment."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._written = 0.0

    def write(self, line: str) -> None:
        """Write a line."""
        self._pending += line.encode("ascii")
        now = time.monotonic()
        if len(self._pending) > _PIECE_SIZE or now - self._written > _DELAY:
            self._written = now
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        rest = memoryview(bytes(self._pending))
        self._pending.clear()
        while rest:
            rest = rest[os.write(1, rest) :]


class Walk:
    """All that is below a path, with a file descriptor for each level, so that no exchanged directory leads out.

    Args:
        depth: the deepest level; -1: all.
        one_filesystem: do not enter directories of other filesystems.
    """

    def __init__(self, path: bytes, depth: int, one_filesystem: bool, report: Report) -> None:
        self.path = path
        self.status = os.stat(path)
        self._depth = depth
        self._device = self.status.st_dev if one_filesystem else -1
        self._report = report

    def holds(self, status: os.stat_result) -> bool:
        """Return whether a file is on a filesystem that is looked at."""
        return self._device in (-1, status.st_dev)

    def entries(self) -> Iterator[tuple[bytes, os.stat_result | None, int]]:
        """Yield path, status and level of each entry; for a directory again at its end, without a status."""
        yield self.path, self.status, 0
        if stat.S_ISDIR(self.status.st_mode):
            if self._depth:
                yield from self._below(self.path, self.path, None)
            yield self.path, None, 0

    def _below(
        self, path: bytes, name: bytes, parent: int | None
    ) -> Iterator[tuple[bytes, os.stat_result | None, int]]:
        """Walk without recursion: a tree may be deeper than Python's stack."""
        stack = [self._open(path, name, parent)]
        while stack:
            fd, names, above = stack[-1]
            entry = None
            try:
                entry = next(names, None)
            except OSError as error:
                self._report.miss(above, error)
            if entry is None:
                stack.pop()
                if fd >= 0:
                    os.close(fd)
                if stack:
                    yield above, None, len(stack)
                continue
            inner = os.path.join(above, entry)
            try:
                status = os.stat(entry, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._report.miss(inner, error)
                continue
            yield inner, status, len(stack)
            if stat.S_ISDIR(status.st_mode) and len(stack) != self._depth and self.holds(status):
                stack.append(self._open(inner, entry, fd))

    def _open(self, path: bytes, name: bytes, parent: int | None) -> tuple[int, Iterator[bytes], bytes]:
        """Open a directory; one that cannot be read counts as empty."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            self._report.miss(path, error)
            return -1, iter(()), path
        return fd, _names(fd), path


def _names(fd: int) -> Iterator[bytes]:
    # With a descriptor, the names are text.
    with os.scandir(fd) as entries:
        for entry in entries:
            yield os.fsencode(entry.name)


def find(walk: Walk, options: Mapping[str, Any], write: Callable[[str], None]) -> None:
    """Write a line for each entry that meets the conditions of `directory-find`."""
    now = time.time_ns()
    earliest = now - options["younger"] * 1_000_000_000 if options["younger"] else None
    latest = now - options["older"] * 1_000_000_000 if options["older"] else None
    types = {_TYPES.get(letter) for letter in options["types"]}
    name: str = options["name"]
    for path, status, _ in walk.entries():
        if (
            status is not None
            and (not types or stat.S_IFMT(status.st_mode) in types)
            and options["minimum"] <= status.st_size <= options["maximum"]
            and (earliest is None or status.st_mtime_ns > earliest)
            and (latest is None or status.st_mtime_ns < latest)
            and (not name or fnmatchcase(_base_name(path), name))
        ):
            write(_LINE % (encode_string(decode_path(path)), *numbers(status)))


def _base_name(path: bytes) -> str:
    return decode_path(os.path.basename(path.rstrip(b"/")) or path)


def usage(walk: Walk, depth: int, write: Callable[[str], None]) -> None:
    """Write a line for each directory down to a level, with the sums of `directory-usage`."""
    # Status, size and blocks of each directory that is open.
    stack: list[tuple[os.stat_result, list[int]]] = []
    seen: set[tuple[int, int]] = set()

    def finish(path: bytes, status: os.stat_result, sums: list[int]) -> None:
        if depth == -1 or len(stack) <= depth:
            values = list(numbers(status))
            values[_SIZE], values[_BLOCKS] = sums
            write(_LINE % (encode_string(decode_path(path)), *values))
        if stack:
            for number, value in enumerate(sums):
                stack[-1][1][number] += value

    for path, status, _ in walk.entries():
        if status is None:
            finish(path, *stack.pop())
        elif not walk.holds(status):
            continue
        elif stat.S_ISDIR(status.st_mode):
            stack.append((status, [status.st_size, status.st_blocks]))
        else:
            key = status.st_dev, status.st_ino
            if status.st_nlink > 1:
                if key in seen:
                    continue
                if len(seen) < _LINKS_MAX:
                    seen.add(key)
            if stack:
                stack[-1][1][0] += status.st_size
                stack[-1][1][1] += status.st_blocks
            else:
                finish(path, status, [status.st_size, status.st_blocks])


def _raise_file_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _write_line(line: str) -> None:
    os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")
