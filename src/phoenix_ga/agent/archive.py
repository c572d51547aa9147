"""The helper process that makes and unpacks the tar streams of directories.

It is a process of its own, so that the agent stays small, and never waits for a disk. What it has to tell
goes to stderr, a line each. Its exit status: 0: all is there; 1: something is missing, as the lines say;
2: it gave up.
"""

from __future__ import annotations

import os
import sys

import phoenix_ga

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.trees.report import Report

_PIECE_SIZE: Final = 128 * 1024
_START: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from phoenix_ga.agent.archive import main; main()"
_INCOMPLETE: Final = 1
_GAVE_UP: Final = 2


def command_line(action: str, path: str, *flags: str) -> list[str]:
    """Return what starts the helper process. action, path, flags: those of `main`."""
    # In the archive too, it is what the agent itself was imported from.
    tree = os.path.dirname(os.path.abspath(phoenix_ga.__path__[0]))
    return [sys.executable, "-ISB", "-X", "utf8", "-c", _START, tree, action, path, *flags]


def main() -> None:
    """Run the helper process: `get PATH`, or `put PATH [new] [owners] [set-id]`. Never returns.

    get: write the directory to stdout. put: make what comes on stdin below the directory. new: that was
    made for it. owners, set-id: take them over.
    """
    import signal

    from phoenix_ga.trees.members import ArchiveError, StreamFailed
    from phoenix_ga.trees.report import Report

    # Asked to end, it removes what is not whole.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Permissions are given with each file, exactly.
    os.umask(0)
    report = Report(_tell)
    action, path, *flags = sys.argv[1:]
    try:
        if action == "get":
            _get(os.fsencode(path), report)
        else:
            _put(os.fsencode(path), frozenset(flags), report)
    except OSError as error:
        name = os.fsencode(error.filename) if isinstance(error.filename, (str, bytes)) else os.fsencode(path)
        report.miss(name, error)
        _end(_GAVE_UP)
    except (ArchiveError, StreamFailed) as error:
        report.miss(os.fsencode(path), str(error) or str(error.__cause__))
        _end(_GAVE_UP)
    _end(_INCOMPLETE if report.missing else 0)


def _get(path: bytes, report: Report) -> None:
    from phoenix_ga.trees.pack import Packer

    with os.fdopen(1, "wb", _PIECE_SIZE) as output:
        Packer(output.write, report).pack(path)


def _put(path: bytes, flags: frozenset[str], report: Report) -> None:
    from phoenix_ga.trees.members import Source
    from phoenix_ga.trees.unpack import Rules, Unpacker

    # Nobody but root may give files away.
    rules = Rules(owners="owners" in flags and os.geteuid() == 0, set_id="set-id" in flags, devices=True)
    Unpacker(Source(lambda: os.read(0, _PIECE_SIZE)), rules, report).unpack(path, "new" in flags)
    _find_sync()(path)


def _find_sync() -> Callable[[bytes], None]:
    """Return what brings to the disk all that is in the filesystem of a directory."""
    try:
        from ctypes import CDLL

        system_call = CDLL(None).syncfs
    except (ImportError, OSError, AttributeError):
        return lambda path: os.sync()

    def sync(path: bytes) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            system_call(fd)
        finally:
            os.close(fd)

    return sync


def _tell(line: str) -> None:
    os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")


def _end(status: int) -> None:
    # Without a word of what could not be written to a client that is gone.
    os._exit(status)
