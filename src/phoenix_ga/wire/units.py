"""The incremental parser: bytes in, units out, whatever the pieces that the bytes come in.

Lines and frames share one byte stream. Between units, white space is skipped. A unit begins with
the first other byte: MAGIC begins a frame, 0xFF is skipped, all else begins a line, which ends at
a newline, or without one where the last bracket of a JSON object closes. 0xFF inside a line forgets
what was read of it.
"""

from __future__ import annotations

from errno import EBADMSG, EMSGSIZE, ENOMEM

from phoenix_ga.wire.frames import HEADER_SIZE, MAGIC, PAYLOAD_LIMIT, FrameError, decode_header
from phoenix_ga.wire.objects import ObjectScanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Union

# What QEMU's own JSON parser takes as its largest message.
LINE_LIMIT: Final = 64 * 1024 * 1024

RESET_BYTE: Final = b"\xff"
_MAGIC_BYTE: Final = bytes((MAGIC,))
_WHITE: Final = b"\r\n\t "
_SKIPPED: Final = _WHITE + RESET_BYTE
_PIECE: Final = 1024

# More newlines than a frame cut short can swallow: after them, any parser is between units.
RESYNC_PADDING_SIZE: Final = HEADER_SIZE + PAYLOAD_LIMIT


class Line:
    """A line without its end (LF or CRLF), or an object that has none; never empty.

    data: its bytes. `split_objects` finds several objects on one line.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Line({self.data!r})"


class Frame:
    """A frame. type, stream: from its header. payload: its bytes, which may be those that the parser was given."""

    __slots__ = ("payload", "stream", "type")

    def __init__(self, type: int, stream: int, payload: bytes | memoryview) -> None:
        self.type = type
        self.stream = stream
        self.payload = payload

    def __repr__(self) -> str:
        return f"Frame({self.type}, {self.stream}, {bytes(self.payload)!r})"


class Damage:
    """Bytes that are no unit and were dropped. code: an errno. text: what was wrong with them."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def __repr__(self) -> str:
        return f"Damage({self.code}, {self.text!r})"


if TYPE_CHECKING:
    Unit = Union[Line, Frame, Damage]


class Parser:
    """Turns received bytes into units, holding no more than `line_limit` bytes and one piece.

    line_limit: the longest line taken, in bytes without its end. lines_only: only a newline ends an object,
    as from agents; to look for its last bracket takes long where there are millions. spans_lines: newlines
    within an object are white space, as for clients of the QEMU Guest Agent; otherwise a newline ends whatever
    there is.
    """

    __slots__ = (
        "_buffer",
        "_dropping",
        "_exhausted",
        "_next",
        "_object",
        "_view",
        "line_limit",
        "lines_only",
        "spans_lines",
    )

    def __init__(self, line_limit: int = LINE_LIMIT, lines_only: bool = False) -> None:
        self.line_limit = line_limit
        self.lines_only = lines_only
        self.spans_lines = False
        self._object = ObjectScanner()
        self._buffer = bytearray()
        # What was received behind that, and not copied yet; it begins with a frame.
        self._view: memoryview | None = None
        # Where the first of each is, or up to where there is none: no byte is looked at twice for it.
        self._next = {b"\n": 0, RESET_BYTE: 0, _MAGIC_BYTE: 0}
        self._dropping = False
        self._exhausted = False

    @property
    def pending(self) -> int:
        """The number of bytes held."""
        return len(self._buffer) + (0 if self._view is None else len(self._view))

    @property
    def idle(self) -> bool:
        """Whether nothing is held, so that the next byte begins a unit."""
        return not (self._buffer or self._dropping or self._exhausted) and self._view is None

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they came. Call `next_unit` until it returns None before the next piece.

        Where `data` is to change before that, call `hold`. Payloads of frames may be in it.
        """
        self.hold()
        start = -1 if self._dropping else self._next_frame_start(data)
        if start >= 0:
            self._buffer += data[:start]
            self._view = memoryview(data)[start:]
            return
        try:
            self._buffer += data
        except MemoryError:
            self._clear()
            self._dropping = self._exhausted = True
            # Now there is memory; the end of what is dropped may be in this piece.
            self._buffer += data

    def hold(self) -> None:
        """Copy what is left of the bytes received last."""
        if self._view is not None:
            view, self._view = self._view, None
            self._buffer += view

    def reset(self) -> None:
        """Forget what was received: the peer is another one now."""
        self._clear()
        self._view = None
        self._dropping = False
        self._exhausted = False

    def __iter__(self) -> Iterator[Unit]:
        while (unit := self.next_unit()) is not None:
            yield unit

    def next_unit(self) -> Unit | None:
        """Return the next whole unit, or None where more bytes are needed.

        What there was no memory for is a Damage (ENOMEM).
        """
        if not self._exhausted:
            try:
                if self._view is not None and not self._buffer:
                    frame = self._frame_in_view(self._view)
                    if frame is not None:
                        return frame
                    self.hold()
                return self._next_unit()
            except MemoryError:
                self._dropping = True
                self._drop()
        self._exhausted = False
        return Damage(ENOMEM, "no memory left for so long a line")

    def _next_unit(self) -> Unit | None:
        buffer = self._buffer
        if self._dropping and not self._drop():
            return None
        while buffer:
            first = buffer[0]
            if first == MAGIC:
                return self._next_frame()
            if first in _SKIPPED:
                # A piece at a time: to strip the whole buffer is to copy it.
                self._forget(_leading(buffer[:_PIECE], _SKIPPED))
            else:
                end = self._find_end()
                length = len(buffer) if end < 0 else end
                if self.spans_lines or not (self.lines_only or self._is_plain(end)):
                    stop = self._object.find_end(buffer, length)
                    if 0 <= stop <= self.line_limit:
                        return self._take_line(stop, stop)
                    if self.spans_lines and end >= 0 and self._is_space_at(end):
                        continue
                if length > self.line_limit:
                    return self._refuse_line(length)
                if end < 0:
                    return None
                if buffer[end] != 0xFF:
                    return self._take_line(end - 1 if buffer[end - 1] == 0x0D else end, end + 1)
                self._forget(end + 1)
        return None

    def _is_plain(self, end: int) -> bool:
        """Tell whether all up to `end` is one unit, whatever objects are in it."""
        buffer = self._buffer
        return 0 <= end <= self.line_limit and buffer[end] == 0x0A and self._find(_MAGIC_BYTE) > end

    def _take_line(self, end: int, next: int) -> Line:
        line = Line(bytes(memoryview(self._buffer)[:end]))
        self._forget(next)
        return line

    def _clear(self) -> None:
        self._buffer = bytearray()
        self._object.reset()
        self._next = dict.fromkeys(self._next, 0)

    def _forget(self, length: int) -> None:
        del self._buffer[:length]
        for wanted, position in self._next.items():
            self._next[wanted] = position - length if position > length else 0
        self._object.reset()

    def _is_space_at(self, newline: int) -> bool:
        """Tell whether a newline is white space within an object, and go on behind it then."""
        if not self._object.depth or self._object.in_string or newline > self.line_limit:
            return False
        if self._buffer[newline] == 0xFF:
            return False
        stop = newline + _leading(self._buffer[newline : newline + _PIECE], _WHITE)
        self._object.position = self._next[b"\n"] = stop
        return True

    def _find_end(self) -> int:
        """Return the index of the newline or 0xFF that comes first, or -1."""
        end = min(self._find(b"\n"), self._find(RESET_BYTE))
        return end if end < len(self._buffer) else -1

    def _find(self, wanted: bytes) -> int:
        """Return the index of the first of the bytes `wanted`, or the length of the buffer."""
        found = self._buffer.find(wanted, self._next[wanted])
        position = self._next[wanted] = found if found >= 0 else len(self._buffer)
        return position

    def _drop(self) -> bool:
        """Drop up to the end of what is no unit; tell whether that end has come."""
        end = self._find_end()
        if end < 0:
            self._clear()
            return False
        self._forget(end + 1)
        self._dropping = False
        return True

    def _refuse_line(self, length: int) -> Damage:
        self._forget(length)
        self._dropping = True
        return Damage(EMSGSIZE, f"line is longer than the limit of {self.line_limit} bytes")

    def _next_frame(self) -> Frame | Damage | None:
        buffer = self._buffer
        if len(buffer) < HEADER_SIZE:
            return None
        try:
            type, stream, length = decode_header(buffer)
        except FrameError as error:
            # The next newline is the first place where a unit could begin again.
            self._forget(1)
            self._dropping = True
            return Damage(EBADMSG, str(error))
        end = HEADER_SIZE + length
        if len(buffer) < end:
            return None
        if len(buffer) == end:
            self._clear()
            return Frame(type, stream, memoryview(buffer)[HEADER_SIZE:])
        payload = bytes(memoryview(buffer)[HEADER_SIZE:end])
        self._forget(end)
        return Frame(type, stream, payload)

    def _frame_in_view(self, view: memoryview) -> Frame | None:
        """Return the frame that `view` begins with, where it is whole."""
        if len(view) < HEADER_SIZE or view[0] != MAGIC:
            return None
        try:
            type, stream, length = decode_header(view)
        except FrameError:
            return None
        end = HEADER_SIZE + length
        if end > len(view):
            return None
        self._view = view[end:] if end < len(view) else None
        return Frame(type, stream, view[HEADER_SIZE:end])

    def _next_frame_start(self, data: bytes | bytearray | memoryview) -> int:
        """Return where in `data` a frame begins, behind that which is held; -1 where none is known to."""
        buffer = self._buffer
        start = 0
        if buffer:
            if buffer[0] != MAGIC or len(buffer) < HEADER_SIZE:
                return -1
            try:
                start = HEADER_SIZE + decode_header(buffer)[2] - len(buffer)
            except FrameError:
                return -1
        return start if start < len(data) and data[start] == MAGIC else -1


def _leading(piece: bytearray, characters: bytes) -> int:
    """Return how many bytes of `characters` a piece begins with."""
    return len(piece) - len(piece.lstrip(characters))


def resync_padding() -> bytes:
    """Return bytes after which a parser that was left in any state is between units.

    Send them where a frame may have been cut short and `sync` got no answer.
    """
    return b"\n" * RESYNC_PADDING_SIZE
