"""Files that are kept in memory: to write to them takes no disk, so that the loop may do it.

Source: tmpfs(5), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import stat
from errno import EAGAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_KINDS: Final = (b"tmpfs", b"ramfs")
# More takes the loop too long, even in memory.
_SIZE_MAX: Final = 256 * 1024


def is_in_memory(fd: int) -> bool:
    """Tell whether it is a regular file of a filesystem that has no disk below it."""
    status = os.fstat(fd)
    # Such a filesystem has no device of its own, and few others have none.
    if not stat.S_ISREG(status.st_mode) or os.major(status.st_dev):
        return False
    device = b"0:%d" % os.minor(status.st_dev)
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                if line.split(b" ", 3)[2] == device:
                    return line.partition(b" - ")[2].split(b" ", 1)[0] in _KINDS
    except OSError:
        pass
    return False


def write_at_once(fd: int, data: memoryview) -> None:
    """Write all of `data` to a file in memory that is not open for appending.

    Raises OSError, and leaves the file where it was, where all of it can't be written at once.
    """
    if len(data) > _SIZE_MAX:
        raise OSError(EAGAIN, os.strerror(EAGAIN))
    written = os.write(fd, data)
    if written < len(data):
        os.lseek(fd, -written, os.SEEK_CUR)
        raise OSError(EAGAIN, os.strerror(EAGAIN))
