"""A buffer for bulk data, whose memory returns to the system when it is freed."""

from __future__ import annotations

from phoenix_ga.agent.linux.anonymous_mmap import map_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Pages of a chunk that were never written take no memory.
_CHUNK_SIZE: Final = 1024 * 1024


class ChunkedBuffer:
    """A buffer that only grows. Its data is never moved; at most one chunk is not full."""

    __slots__ = ("_chunks", "_used")

    def __init__(self) -> None:
        self._chunks: list[memoryview] = []
        self._used = _CHUNK_SIZE

    def append(self, data: bytes) -> None:
        """Append bytes. Raises OSError (ENOMEM) if the system has no memory left."""
        rest = memoryview(data)
        while rest:
            if self._used == _CHUNK_SIZE:
                self._chunks.append(map_memory(_CHUNK_SIZE))
                self._used = 0
            size = min(len(rest), _CHUNK_SIZE - self._used)
            self._chunks[-1][self._used : self._used + size] = rest[:size]
            self._used += size
            rest = rest[size:]

    def pieces(self) -> list[memoryview]:
        """Return the current contents, which later appends do not change."""
        return [*self._chunks[:-1], *(chunk[: self._used] for chunk in self._chunks[-1:])]
