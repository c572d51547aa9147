"""Memory that takes nothing before it is used, and is back with the system when nobody refers to it.

What malloc(3) gives may stay with the process when it is freed, once it has seen large blocks come
and go; a mapping never does. Source: mmap(2).
"""

from __future__ import annotations

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap


def map_memory(size: int) -> memoryview:
    """Return so many zeros that may be written to. Raises OSError (ENOMEM) where the system has no memory left."""
    return memoryview(mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))
