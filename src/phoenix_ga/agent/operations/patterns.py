"""Expanding patterns for paths."""

from __future__ import annotations

import os
from errno import E2BIG

from phoenix_ga.agent.operations.files import decode_path, encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final, Protocol

    class NamePattern(Protocol):
        """A pattern for one part of a path. literal: the only name that it matches; None if it has wildcards."""

        literal: str | None

        def matches(self, name: str) -> bool:
            """Return whether it matches a name."""


# The most that the paths may have together, in characters.
_SIZE_MAX: Final = 4 * 1024 * 1024


def matching_paths(parts: Iterable[NamePattern]) -> list[str]:
    """Return the existing paths whose parts match, in order of their names.

    A directory that cannot be read has none.

    Raises:
        OSError: E2BIG if the paths have more than 4 MiB.
    """
    first, *others = parts
    found = _matching("", first)
    for part in others:
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


def _matching(above: str, pattern: NamePattern) -> list[str]:
    """Return the paths of what matches in a directory. above: its path with a slash; empty: the working directory."""
    if pattern.literal is not None:
        return [above + pattern.literal]
    try:
        names = os.listdir(encode_path(above or "."))
    except OSError:
        return []
    return [above + name for name in sorted(map(decode_path, names)) if pattern.matches(name)]
