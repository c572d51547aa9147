"""Where a JSON object ends that no newline ends: clients of the QEMU Guest Agent need not send one.

Looks at each byte once, however many pieces an object comes in. It does not check the text: what
is no JSON is still a unit, for whoever tells what is wrong with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_OPENING: Final = (b"{", b"[")
_OPENING_BYTES: Final = b"{["
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_QUOTES: Final = (b'"', b"'")
_APOSTROPHE: Final = 0x27
_BACKSLASH: Final = 0x5C
_WHITE: Final = b"\r\n\t "


class ObjectScan:
    """Follows the brackets and strings of one JSON text.

    depth: how many brackets are open. in_string: whether it is inside a string. position: of the
    first byte that was not looked at.
    """

    __slots__ = ("_quote", "_string_start", "depth", "position")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, with the first byte of the buffer."""
        self.position = 0
        self.depth = 0
        self._quote = b""
        self._string_start = 0

    @property
    def in_string(self) -> bool:
        """Whether the last byte looked at is inside a string."""
        return bool(self._quote)

    def end_string(self) -> None:
        """Forget that there is a string: a newline has ended it."""
        self._quote = b""

    def find_end(self, buffer: bytearray, limit: int) -> int:
        """Return where the text ends whose last bracket closes before `limit`, or -1 where none does yet."""
        while self.position < limit:
            if self._quote:
                self._leave_string(buffer, limit)
            elif not self.depth:
                # An apostrophe out here is part of what is no JSON anyway.
                self.position = _first(buffer, _OPENING, self.position, limit) + 1
                if not self.position:
                    self.position = limit
                    return -1
                self.depth = 1
            else:
                quote = _first(buffer, _QUOTES, self.position, limit)
                end = self._follow_brackets(buffer, limit if quote < 0 else quote)
                if end >= 0:
                    return end
                if quote >= 0:
                    self._quote = _QUOTES[buffer[quote] == _APOSTROPHE]
                    self._string_start = self.position = quote + 1
        return -1

    def _leave_string(self, buffer: bytearray, limit: int) -> None:
        quote = buffer.find(self._quote, self.position, limit)
        if quote < 0:
            self.position = limit
            return
        self.position = quote + 1
        escapes = quote
        while escapes > self._string_start and buffer[escapes - 1] == _BACKSLASH:
            escapes -= 1
        if (quote - escapes) % 2 == 0:
            self._quote = b""

    def _follow_brackets(self, buffer: bytearray, limit: int) -> int:
        """Follow the brackets of a piece without strings; return the end of the text, or -1."""
        brackets = buffer[self.position : limit].translate(None, _NO_BRACKETS)
        for bracket in brackets:
            self.position = buffer.index(bracket, self.position) + 1
            self.depth += 1 if bracket in _OPENING_BYTES else -1
            if not self.depth:
                return self.position
        self.position = limit
        return -1


def _first(buffer: bytearray, wanted: tuple[bytes, ...], start: int, limit: int) -> int:
    """Return the index of the first of two bytes, or -1."""
    found = buffer.find(wanted[0], start, limit)
    other = buffer.find(wanted[1], start, limit if found < 0 else found)
    return found if other < 0 else other


def split_objects(line: bytes) -> list[bytes]:
    """Return the parts of a line, each of which ends where an object does, and what is left of it."""
    buffer = bytearray(line)
    scan = ObjectScan()
    parts = []
    start = 0
    while (end := scan.find_end(buffer, len(buffer))) >= 0:
        parts.append(line[start:end].lstrip(_WHITE))
        start = end
    rest = line[start:].lstrip(_WHITE)
    return [*parts, rest] if rest else parts
