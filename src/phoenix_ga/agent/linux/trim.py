"""Discarding the unused blocks of a filesystem: FITRIM of linux/fs.h."""

from __future__ import annotations

import fcntl
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FITRIM: Final = 0xC0185879  # _IOWR('X', 121, struct fstrim_range)
_RANGE: Final = struct.Struct("=QQQ")  # struct fstrim_range: start, length, shortest run of free blocks
_ALL: Final = 2**64 - 1


def trim(descriptor: int, minimum: int) -> tuple[int, int]:
    """Trim the filesystem of an open file; free runs shorter than `minimum` bytes may be left out.

    Returns the number of bytes trimmed, and the minimum that the filesystem used. Raises
    OSError: ENOTTY or EOPNOTSUPP if the filesystem or its disk does not support it. May take minutes.
    """
    while True:
        try:
            answer = fcntl.ioctl(descriptor, FITRIM, _RANGE.pack(0, _ALL, minimum & _ALL))
        except InterruptedError:
            continue
        break
    _, trimmed, used_minimum = _RANGE.unpack(answer)
    return trimmed, used_minimum
