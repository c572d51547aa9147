"""Find where a JSON object ends if no newline ends it: clients of the QEMU Guest Agent need not send one.

The text is not validated. Text that is not JSON becomes a unit too, so that it can be answered with an error.
The work is proportional to the bytes scanned, however many objects there are and in whatever pieces they arrive.
"""

from __future__ import annotations

from phoenix_ga.wire.json_text import ELEMENTS_MAX, JsonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Union

    Buffer = Union[bytes, bytearray]

# Objects taken from one line; a client that pipelines sends a few.
OBJECTS_MAX: Final = 1000
# Brackets and quotes in such a line: an element has two quotes or brackets, and a name two quotes.
_MARKS_MAX: Final = 4 * ELEMENTS_MAX
# Strings of one object: each element may have a name.
_STRINGS_MAX: Final = 2 * ELEMENTS_MAX

_OPENING: Final = (b"{", b"[")
_OPENING_BYTES: Final = b"{["
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_NO_MARKS: Final = _NO_BRACKETS.translate(None, b"\"'")
_TOKENS: Final = bytes((*range(0x20), 0xFE, *b"{}[],:\"'"))
_NO_TOKENS: Final = bytes(byte for byte in range(256) if byte not in _TOKENS)
_QUOTES: Final = (b'"', b"'")
_APOSTROPHE: Final = 0x27
_WHITE: Final = b"\r\n\t "
# Search one piece at a time: a byte found far ahead would be searched for again after each object.
_PIECE: Final = 1024
_ESCAPES_PIECE: Final = 256


class ObjectScanner:
    """Tracks the brackets and strings of one JSON text.

    Attributes:
        depth: Number of open brackets.
        in_string: Whether the last byte scanned is inside a string.
        position: Index of the first byte that was not scanned.
    """

    __slots__ = ("_quote", "_strings", "depth", "position")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again at the first byte of the buffer."""
        self.position = 0
        self.depth = 0
        self._quote = b""
        self._strings = 0

    @property
    def in_string(self) -> bool:
        return bool(self._quote)

    def find_end(self, buffer: Buffer, limit: int) -> int:
        """Return the index after the bracket that closes the object, or -1 if none before `limit` does.

        An object with more strings than any request has no end.
        """
        while self.position < limit and self._strings <= _STRINGS_MAX:
            stop = min(self.position + _PIECE, limit)
            if self.depth and self._scan_plain(buffer[self.position : stop]):
                continue
            if self._quote:
                if not self._leave_string(buffer, limit):
                    break
                continue
            if not self.depth:
                # An apostrophe outside an object belongs to text that is not JSON.
                opening = _first(buffer, _OPENING, self.position, stop)
                self.depth = int(opening >= 0)
                self.position = opening + 1 or stop
                continue
            quote = _first(buffer, _QUOTES, self.position, stop)
            end = self._follow_brackets(buffer, stop if quote < 0 else quote)
            if end >= 0:
                return end
            if quote >= 0:
                self._quote = _QUOTES[buffer[quote] == _APOSTROPHE]
                self._strings += 1
                self.position = quote + 1
        return -1

    def _scan_plain(self, piece: Buffer) -> bool:
        """Scan a piece at once if it has no escapes and one kind of quote, and the object does not end in it."""
        quote = _QUOTES[b"'" in piece]
        if b"\\" in piece or (quote != _QUOTES[0] and _QUOTES[0] in piece) or self._quote not in (b"", quote):
            return False
        parts = piece.split(quote)
        inside = self.in_string
        brackets = b"".join(parts[inside::2]).translate(None, _NO_BRACKETS)
        closing = brackets.count(b"}") + brackets.count(b"]")
        if closing >= self.depth:
            return False
        self.depth += len(brackets) - 2 * closing
        self._strings += len(parts) // 2
        self._quote = quote if (len(parts) - 1 + inside) % 2 else b""
        self.position += len(piece)
        return True

    def _leave_string(self, buffer: Buffer, limit: int) -> bool:
        """Scan a piece of a string. Return False if only half an escape is there."""
        stop = min(self.position + _PIECE, limit)
        quote = buffer.find(self._quote, self.position, stop)
        text = buffer[self.position : stop if quote < 0 else quote]
        escaping = (len(text) - len(text.rstrip(b"\\"))) % 2
        if quote < 0:
            # The last backslash may escape a byte that is not there yet.
            self.position = stop - escaping
            return len(text) > escaping
        self.position = quote + 1
        if not escaping:
            self._quote = b""
            return True
        # More escapes may follow: hide them, and keep the length.
        text = buffer[self.position : min(self.position + _ESCAPES_PIECE, limit)]
        text = text.replace(b"\\\\", b"  ").replace(b"\\" + self._quote, b"  ")
        quote = text.find(self._quote)
        if quote >= 0:
            self.position += quote + 1
            self._quote = b""
        else:
            self.position += len(text) - text.endswith(b"\\")
        return True

    def _follow_brackets(self, buffer: Buffer, limit: int) -> int:
        """Scan bytes outside strings. Return the index after the object, or -1 if it does not end there."""
        brackets = buffer[self.position : limit].translate(None, _NO_BRACKETS)
        closing = brackets.count(b"}") + brackets.count(b"]")
        if closing < self.depth:
            self.depth += len(brackets) - 2 * closing
        else:
            for bracket in brackets:
                self.position = buffer.index(bracket, self.position) + 1
                self.depth += 1 if bracket in _OPENING_BYTES else -1
                if not self.depth:
                    return self.position
        self.position = limit
        return -1


def _first(buffer: Buffer, wanted: tuple[bytes, ...], start: int, limit: int) -> int:
    """Return the index of the first of two bytes, or -1."""
    found = buffer.find(wanted[0], start, limit)
    other = buffer.find(wanted[1], start, limit if found < 0 else found)
    return found if other < 0 else other


def count_marks(text: bytes) -> int:
    """Return the number of bytes that are tokens of their own, which is what makes a text long to read."""
    return len(text.translate(None, _NO_TOKENS))


def split_objects(line: bytes) -> list[bytes]:
    """Split a line after each object in it.

    Returns:
        The parts, without white space before them; what follows the last object is one more part.

    Raises:
        JsonError: if there are more objects, or more brackets and quotes, than any client sends.
    """
    if len(line) > _MARKS_MAX and len(line.translate(None, _NO_MARKS)) > _MARKS_MAX:
        raise JsonError(f"more than {_MARKS_MAX} brackets and quotes on a line of several objects")
    scanner = ObjectScanner()
    parts: list[bytes] = []
    start = 0
    while (end := scanner.find_end(line, len(line))) >= 0:
        if len(parts) == OBJECTS_MAX:
            raise too_many_objects()
        parts.append(line[start:end].lstrip(_WHITE))
        start = end
    rest = line[start:].lstrip(_WHITE)
    return [*parts, rest] if rest else parts


def too_many_objects() -> JsonError:
    """Return the error for a line with more than OBJECTS_MAX objects."""
    return JsonError(f"more than {OBJECTS_MAX} objects on one line")
