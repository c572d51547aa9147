"""Expanding patterns in paths of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_ga.wire.patterns import is_pattern

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


async def expand(guest: Guest, path: str) -> tuple[str, ...]:
    """Return the paths that match, as a shell does: the path itself if it is no pattern, or if nothing matches."""
    return (is_pattern(path) and await guest.files.glob(path)) or (path,)
