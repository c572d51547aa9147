"""The helper process that packs and unpacks the tar streams of directories.

It is a separate process, so that the agent stays small and never waits for a disk. It reports on stderr, one
line each. Exit status: 0: complete; 1: something is missing, as reported; 2: it failed.
"""

from __future__ import annotations

import os
import sys

from phoenix_ga.trees.batch import STEPS_MAX, sync_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.trees.batch import NewFile
    from phoenix_ga.trees.report import Report

_PIECE_SIZE: Final = 128 * 1024
# Files that wait for their names at once.
_FILES_MAX: Final = 2048
# The first Linux whose syncfs(2) reports errors.
_REPORTS_ERRORS: Final = (5, 8)
_INCOMPLETE: Final = 1
_FAILED: Final = 2


def main() -> None:
    """Run the helper process: `get PATH [xattrs]`, or `put PATH [new] [owners] [set-id] [xattrs | all-xattrs]`.

    `get` packs the directory to stdout. `put` unpacks stdin into the directory; `new`: the directory was created
    for this; `owners`, `set-id`: take over owners and set-ID bits. `xattrs`: with extended attributes, those that
    users can set; `all-xattrs`: all. Never returns.
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
            _get(os.fsencode(path), frozenset(flags), report)
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


def _get(path: bytes, flags: frozenset[str], report: Report) -> None:
    from phoenix_ga.trees.pack import Packer
    from phoenix_ga.trees.xattrs import is_known

    with os.fdopen(1, "wb", _PIECE_SIZE) as output:
        Packer(output.write, report, is_known if "xattrs" in flags else None).pack(path)


def _put(path: bytes, flags: frozenset[str], report: Report) -> None:
    from phoenix_ga.trees.members import Source
    from phoenix_ga.trees.unpack import Rules, Unpacker
    from phoenix_ga.trees.xattrs import is_known, is_unprivileged

    # Only root may give files away.
    owners = "owners" in flags and os.geteuid() == 0
    xattrs = is_known if "all-xattrs" in flags else is_unprivileged if "xattrs" in flags else None
    rules = Rules(owners, set_id="set-id" in flags, devices=True, xattrs=xattrs)
    source = Source(lambda: os.read(0, _PIECE_SIZE))
    Unpacker(source, rules, report, sync_together, _raise_file_limit()).unpack(path, "new" in flags)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(fd)
    finally:
        os.close(fd)


def _raise_file_limit() -> int:
    """Let this process open as many files as are useful; return how many may wait for their names."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= 2 * _FILES_MAX:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * _FILES_MAX, hard))
        return _FILES_MAX
    return STEPS_MAX


def sync_together(files: list[NewFile]) -> None:
    """Write files to the disk with all of their filesystems, which is one call for each, and is done anyway."""
    try:
        from phoenix_ga.agent.linux.syncfs import syncfs

        if _kernel() >= _REPORTS_ERRORS:
            for fd in {os.fstat(file.fd).st_dev: file.fd for file in files}.values():
                syncfs(fd)
            return
    except (ImportError, OSError):
        # Without ctypes; or a file was not written, perhaps one of these.
        pass
    sync_each(files)


def sync_filesystem(fd: int) -> None:
    """Write the filesystem of an open file to the disk, see syncfs(2).

    Raises:
        OSError: also if an earlier write to it failed (since Linux 5.8).
    """
    try:
        from phoenix_ga.agent.linux.syncfs import syncfs
    except (ImportError, OSError):
        os.sync()
        return
    # For EBADF: syncfs does not tell its error.
    os.fstat(fd)
    syncfs(fd)


def _kernel() -> tuple[int, ...]:
    numbers = os.uname().release.split(".")[:2]
    return tuple(int(number) if number.isdigit() else 0 for number in numbers)


def _write_line(line: str) -> None:
    os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")


def _end(status: int) -> None:
    # Without flushing stdout, which may be broken.
    os._exit(status)
