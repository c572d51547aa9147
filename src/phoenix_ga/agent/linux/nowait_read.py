"""Reading what the kernel has in memory: it takes no disk, so that the loop may do it.

Source: preadv2(2), RWF_NOWAIT.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EOPNOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Not every Linux has it, and not every filesystem.
NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
# More takes the loop too long, even from memory.
_COUNT_MAX: Final = 96 * 1024

_buffers: Final[list[memoryview]] = []


def read_cached(fd: int, count: int) -> tuple[memoryview, bool]:
    """Return the next `count` bytes of a file, less at its end, and whether the end was met.

    The bytes are valid until the next call, and it is for one thread only. Raises OSError, and leaves the
    file where it was, wherever it would have to wait, and where it can't tell.
    """
    if not NOWAIT or not 0 < count <= _COUNT_MAX:
        raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
    if not _buffers:
        _buffers.append(memoryview(bytearray(_COUNT_MAX)))
    buffer = _buffers[0][:count]
    # What has no place to go back to, such as a FIFO, fails here.
    start = os.lseek(fd, 0, os.SEEK_CUR)
    size = os.preadv(fd, (buffer,), start, NOWAIT)
    ended = size < count and (not size or not os.preadv(fd, (buffer[size:],), start + size, NOWAIT))
    if size < count and not ended:
        raise OSError(EAGAIN, os.strerror(EAGAIN))
    os.lseek(fd, start + size, os.SEEK_SET)
    return buffer[:size], ended
