"""Reading and writing that takes no disk, so that the loop may do it; for files that `files` has opened."""

from __future__ import annotations

from errno import EAGAIN, EBADF

from phoenix_ga.agent.linux import memory_files
from phoenix_ga.agent.linux.cached_read import read_cached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.operations.files import OpenFile


def read_at_once(file: OpenFile, count: int) -> memoryview:
    """Do what `read` does, from memory. Raises OSError where that is not possible, and at the end of the file.

    The bytes are valid until the next call.
    """
    if file.writable:
        raise OSError(EBADF, "the file is open for writing", file.path)
    data, _ = read_cached(file.fd, count)
    if not data:
        raise OSError(EAGAIN, "at the end, there is more to do than to read", file.path)
    return data


def write_at_once(file: OpenFile, data: bytes) -> None:
    """Do what `write` does, in memory. Raises OSError, and writes nothing, where that is not possible."""
    if not file.in_memory:
        raise OSError(EAGAIN, "it takes a disk", file.path)
    memory_files.write_at_once(file.fd, memoryview(data))
