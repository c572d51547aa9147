"""Expanding patterns for paths."""

from __future__ import annotations

import os
from errno import E2BIG

from phoenix_ga.agent.operations.files import decode_path, encode_path
from phoenix_ga.wire.patterns import NamePattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# The most that the paths may have together, in characters.
_SIZE_MAX: Final = 4 * 1024 * 1024


def matching_paths(pattern: str) -> list[str]:
    """Return the existing paths that match a pattern, in order of their names.

    A directory that cannot be read has none.

    Raises:
        OSError: E2BIG if the paths have more than 4 MiB.
    """
    first, *parts = pattern.split("/")
    found = _matching("", first)
    for part in parts:
        found = _within_limit(path for above in found for path in _matching(above + "/", part))
    return [path for path in found if os.path.lexists(encode_path(path))]


def _within_limit(paths: Iterator[str]) -> list[str]:
    found = []
    left = _SIZE_MAX
    for path in paths:
        left -= len(path)
        if left < 0:
            raise OSError(E2BIG, "too many paths match the pattern")
        found.append(path)
    return found


def _matching(above: str, part: str) -> list[str]:
    """Return the paths of what matches in a directory. above: its path with a slash; empty: the working directory."""
    pattern = NamePattern(part)
    if pattern.literal is not None:
        return [above + pattern.literal]
    try:
        names = os.listdir(encode_path(above or "."))
    except OSError:
        return []
    return [above + name for name in sorted(map(decode_path, names)) if pattern.matches(name)]
