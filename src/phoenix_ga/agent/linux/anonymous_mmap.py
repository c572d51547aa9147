"""Anonymous mappings, see mmap(2): their memory returns to the system when they are freed.

Memory of malloc(3) may stay with the process, because its thresholds grow with the largest block freed.
"""

from __future__ import annotations

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap


def map_memory(size: int) -> memoryview:
    """Return `size` writable zero bytes. Raises OSError (ENOMEM) if the system has no memory left."""
    return memoryview(mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))
