"""Memory for bulk data that is back with the system as soon as nobody refers to it."""

from __future__ import annotations

from phoenix_ga.agent.linux.anonymous_mmap import map_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Of a block that is not full, only what was written to takes memory.
_BLOCK_SIZE: Final = 1024 * 1024


class Blocks:
    """Bytes that only grow.

    It has no more than one block that is not full, and nothing is ever copied within it.
    """

    __slots__ = ("_blocks", "_used")

    def __init__(self) -> None:
        self._blocks: list[memoryview] = []
        self._used = _BLOCK_SIZE

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Raises OSError (ENOMEM) where the system has no memory left."""
        rest = memoryview(data)
        while rest:
            if self._used == _BLOCK_SIZE:
                self._blocks.append(map_memory(_BLOCK_SIZE))
                self._used = 0
            size = min(len(rest), _BLOCK_SIZE - self._used)
            self._blocks[-1][self._used : self._used + size] = rest[:size]
            self._used += size
            rest = rest[size:]

    def pieces(self) -> list[memoryview]:
        """Return what is there now; it stays what it is, whatever is appended later."""
        return [*self._blocks[:-1], *(block[: self._used] for block in self._blocks[-1:])]
