"""What is told of a copy: what was left out on purpose, and what is missing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

NOTE: Final = "note: "
MISSING: Final = "missing: "
# All lines together stay below what a pipe takes without a reader.
_LINES_MAX: Final = 100
_SHOWN_MAX: Final = 300


class Report:
    """Notes, and what is missing, a line each; of many only the first are kept.

    tell: is called with each line. notes, missing: how many there were.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told = 0
        self.notes = 0
        self.missing = 0

    def note(self, name: bytes, text: str) -> None:
        """Something was left out on purpose, or is not quite what it was."""
        self.notes += 1
        self._add(f"{NOTE}{shown(name)}: {text}")

    def miss(self, name: bytes, error: OSError | str) -> None:
        """Something could not be copied."""
        self.missing += 1
        text = error if isinstance(error, str) else error.strerror or str(error)
        self._add(f"{MISSING}{shown(name)}: {text}")

    def _add(self, line: str) -> None:
        self._told += 1
        if self._told < _LINES_MAX:
            self._tell(line)
        elif self._told == _LINES_MAX:
            self._tell(f"{NOTE}there is more, which is not told")


def shown(name: bytes) -> str:
    """Return a name as one line of printable text, cut where it is long."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
