"""The helper process that packs and unpacks the tar streams of directories.

It is a separate process, so that the agent stays small and never waits for a disk. It reports on stderr, one
line each. Exit status: 0: complete; 1: something is missing, as reported; 2: it failed.
"""

from __future__ import annotations

import os
import sys

import phoenix_ga

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.trees.report import Report

_PIECE_SIZE: Final = 128 * 1024
_START: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from phoenix_ga.agent.archive import main; main()"
_INCOMPLETE: Final = 1
_FAILED: Final = 2


def command_line(action: str, path: str, *flags: str) -> list[str]:
    """Return the command that starts the helper process. action, path, flags: as for `main`."""
    # The path from which the agent was imported, which may lead into a zip archive.
    tree = os.path.dirname(os.path.abspath(phoenix_ga.__path__[0]))
    return [sys.executable, "-ISB", "-X", "utf8", "-c", _START, tree, action, path, *flags]


def main() -> None:
    """Run the helper process: `get PATH`, or `put PATH [new] [owners] [set-id]`. Never returns.

    `get` packs the directory to stdout. `put` unpacks stdin into the directory; `new`: the directory was created
    for this; `owners`, `set-id`: take over owners and set-ID bits.
    """
    import signal

    from phoenix_ga.trees.headers import ArchiveError
    from phoenix_ga.trees.members import StreamFailed
    from phoenix_ga.trees.report import Report

    # SystemExit removes incomplete files.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Each file gets exactly its own permissions.
    os.umask(0)
    report = Report(_write_line)
    action, path, *flags = sys.argv[1:]
    try:
        if action == "get":
            _get(os.fsencode(path), report)
        else:
            _put(os.fsencode(path), frozenset(flags), report)
    except OSError as error:
        name = os.fsencode(error.filename) if isinstance(error.filename, (str, bytes)) else os.fsencode(path)
        report.miss(name, error)
        _end(_FAILED)
    except (ArchiveError, StreamFailed) as error:
        report.miss(os.fsencode(path), str(error) or str(error.__cause__))
        _end(_FAILED)
    _end(_INCOMPLETE if report.missing else 0)


def _get(path: bytes, report: Report) -> None:
    from phoenix_ga.trees.pack import Packer

    with os.fdopen(1, "wb", _PIECE_SIZE) as output:
        Packer(output.write, report).pack(path)


def _put(path: bytes, flags: frozenset[str], report: Report) -> None:
    from phoenix_ga.trees.members import Source
    from phoenix_ga.trees.unpack import Rules, Unpacker

    # Only root may give files away.
    rules = Rules(owners="owners" in flags and os.geteuid() == 0, set_id="set-id" in flags, devices=True)
    Unpacker(Source(lambda: os.read(0, _PIECE_SIZE)), rules, report).unpack(path, "new" in flags)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(fd)
    finally:
        os.close(fd)


def sync_filesystem(fd: int) -> None:
    """Write the filesystem of an open file to the disk, see syncfs(2).

    Raises:
        OSError: also if an earlier write to it failed (since Linux 5.8).
    """
    try:
        from ctypes import CDLL, get_errno

        syncfs = CDLL(None, use_errno=True).syncfs
    except (ImportError, OSError, AttributeError):
        os.sync()
        return
    if syncfs(fd) != 0:
        raise OSError(get_errno(), os.strerror(get_errno()))


def _write_line(line: str) -> None:
    os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")


def _end(status: int) -> None:
    # Without flushing stdout, which may be broken.
    os._exit(status)
