"""inotify(7), for which the standard library has no module. Imported only by what waits for files.

The C half of `ctypes` is called directly: its Python half would add a tenth to the memory of an
idle agent whose port came late.
"""

from __future__ import annotations

import os
from errno import EMFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    dlopen: Callable[[str | None, int], int]
    dlsym: Callable[[int, str], int]
    call_cdeclfunction: Callable[[int, tuple[int | bytes, ...]], int]
else:
    from _ctypes import call_cdeclfunction, dlopen, dlsym

# linux/inotify.h
IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_CLOSE_NOWRITE: Final = 0x10
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_Q_OVERFLOW: Final = 0x4000
IN_ONLYDIR: Final = 0x1000000
IN_MASK_ADD: Final = 0x20000000
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC

_libc: Final = dlopen(None, 0)
_inotify_init1: Final = dlsym(_libc, "inotify_init1")
_inotify_add_watch: Final = dlsym(_libc, "inotify_add_watch")
_inotify_rm_watch: Final = dlsym(_libc, "inotify_rm_watch")


def inotify_init() -> int:
    """Return a new inotify file descriptor, non-blocking. Raises OSError (EMFILE)."""
    fd = call_cdeclfunction(_inotify_init1, (IN_NONBLOCK | IN_CLOEXEC,))
    if fd < 0:
        raise OSError(EMFILE, "the kernel has no inotify instance left")
    return fd


def inotify_add_watch(fd: int, path: bytes, mask: int) -> bool:
    """Watch `path`, following symbolic links, for the events of `mask`; return whether that was possible."""
    return inotify_watch(fd, path, mask) >= 0


def inotify_watch(fd: int, path: bytes, mask: int) -> int:
    """Do the same, and return the number of the watch; -1 if that is not possible."""
    return call_cdeclfunction(_inotify_add_watch, (fd, path, mask))


def inotify_unwatch(fd: int, watch: int) -> None:
    """Remove a watch, if it is still there."""
    call_cdeclfunction(_inotify_rm_watch, (fd, watch))
