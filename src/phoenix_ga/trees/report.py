"""The report of a copy: what was left out on purpose, and what is missing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

NOTE: Final = "note: "
MISSING: Final = "missing: "
# All lines together fit into a pipe, so that the writer never blocks.
_LINES_MAX: Final = 100
_SHOWN_MAX: Final = 300


class Report:
    """Notes and missing entries, one line each; only the first ones are passed on.

    Args:
        write: called with each line.

    Attributes:
        notes, missing: how many there were.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines = 0
        self.notes = 0
        self.missing = 0

    def note(self, name: bytes, text: str) -> None:
        """Report that something was left out on purpose, or changed."""
        self.notes += 1
        self._add(f"{NOTE}{shown(name)}: {text}")

    def miss(self, name: bytes, error: OSError | str) -> None:
        """Report that something could not be copied."""
        self.missing += 1
        text = error if isinstance(error, str) else error.strerror or str(error)
        self._add(f"{MISSING}{shown(name)}: {text}")

    def _add(self, line: str) -> None:
        self._lines += 1
        if self._lines < _LINES_MAX:
            self._write(line)
        elif self._lines == _LINES_MAX:
            self._write(f"{NOTE}more lines are not shown")


def shown(name: bytes) -> str:
    """Return a name as one line of printable text, truncated if it is long."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
