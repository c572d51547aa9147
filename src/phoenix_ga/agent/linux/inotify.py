"""inotify(7), for which the standard library has no module. Imported only where a path is waited for."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# linux/inotify.h
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_CLOSE_NOWRITE: Final = 0x10
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_ONLYDIR: Final = 0x1000000
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC

_libc: Final = ctypes.CDLL(None, use_errno=True)


def inotify_init() -> int:
    """Return a new inotify file descriptor, non-blocking. Raises OSError."""
    fd: int = _libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> None:
    """Watch `path`, symbolic links followed, for the events of `mask`. Raises OSError."""
    if _libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
