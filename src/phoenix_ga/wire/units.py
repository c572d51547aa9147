"""The incremental parser: bytes in, units out, independent of how the bytes are split.

Lines and frames share one byte stream. White space and 0xFF between units are skipped. Of the other bytes, MAGIC
begins a frame, and any other byte a line. A line ends at a newline, or at the last bracket of a JSON object. 0xFF
inside a line discards the line up to there.
"""

from __future__ import annotations

from errno import EBADMSG, EMSGSIZE, ENOMEM

from phoenix_ga.wire.frames import DATA, HEADER_SIZE, MAGIC, PAYLOAD_LIMIT, FrameError, decode_header
from phoenix_ga.wire.objects import ObjectScanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Union

# The largest message that QEMU's JSON parser accepts.
LINE_LIMIT: Final = 64 * 1024 * 1024

RESET_BYTE: Final = b"\xff"
_MAGIC_BYTE: Final = bytes((MAGIC,))
_WHITE: Final = b"\r\n\t "
_SKIPPED: Final = _WHITE + RESET_BYTE
_PIECE: Final = 1024
_REQUEST: Final = b"execute"

# More newlines than a truncated frame can swallow. After them, every parser is between units.
RESYNC_PADDING_SIZE: Final = HEADER_SIZE + PAYLOAD_LIMIT


class Line:
    """A line without its LF or CRLF, or an object without a newline; never empty.

    It may hold several objects: see `split_objects`.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Line({self.data!r})"


class Frame:
    """A frame. payload: may be a view of the bytes that the parser was given."""

    __slots__ = ("payload", "stream", "type")

    def __init__(self, type: int, stream: int, payload: bytes | memoryview) -> None:
        self.type = type
        self.stream = stream
        self.payload = payload

    def __repr__(self) -> str:
        return f"Frame({self.type}, {self.stream}, {bytes(self.payload)!r})"


class Damage:
    """Bytes that were dropped because they are not a unit. code: errno. text: the reason."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def __repr__(self) -> str:
        return f"Damage({self.code}, {self.text!r})"


if TYPE_CHECKING:
    Unit = Union[Line, Frame, Damage]


class Parser:
    """Converts bytes to units. It holds no more than `line_limit` bytes and one piece.

    Attributes:
        line_limit: Limit of a line without its end, in bytes.
        lines_only: Only a newline ends a line, as from agents. It saves the search for the last bracket.
        spans_lines: A newline within an object is white space, as from clients of the QEMU Guest Agent.
        splits_data: A DATA frame whose payload has not arrived completely is returned as several, as it arrives:
            its bytes are those of a stream, so nothing must be copied to join them.
    """

    __slots__ = (
        "_buffer",
        "_data_left",
        "_data_stream",
        "_dropping",
        "_exhausted",
        "_in_line",
        "_next",
        "_object",
        "_reports_drop",
        "_searched",
        "_skimming",
        "_view",
        "line_limit",
        "lines_only",
        "spans_lines",
        "splits_data",
    )

    def __init__(self, line_limit: int = LINE_LIMIT, lines_only: bool = False, splits_data: bool = False) -> None:
        self.line_limit = line_limit
        self.lines_only = lines_only
        self.spans_lines = False
        self.splits_data = splits_data
        # Bytes of the payload of a DATA frame that are still to come, and its stream.
        self._data_left = self._data_stream = 0
        self._object = ObjectScanner()
        self._buffer = bytearray()
        # Bytes that follow the buffer and were not copied yet. They begin with a frame.
        self._view: memoryview | None = None
        # For each byte, its next index, or the index before which it does not occur: no byte is searched twice.
        self._next = {b"\n": 0, RESET_BYTE: 0, _MAGIC_BYTE: 0}
        self._dropping = False
        self._exhausted = False
        self._skimming = False
        # Whether the last unit was an object without a newline, so that the rest of its line follows.
        self._in_line = False
        self._reports_drop = False
        # Number of bytes in which `skim` has found no request.
        self._searched = 0

    @property
    def pending(self) -> int:
        """Number of bytes held, and of those that are missing of a DATA frame that was begun."""
        return len(self._buffer) + (0 if self._view is None else len(self._view)) + self._data_left

    @property
    def idle(self) -> bool:
        """Whether nothing is held, so that the next byte begins a unit."""
        held = self._buffer or self._data_left or self._dropping or self._exhausted or self._skimming
        return not held and self._view is None

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Add received bytes. Call `next_unit` until it returns None before the next call.

        Call `hold` before `data` changes, unless `next_unit` has returned None. Frames may be views of it.
        """
        self.hold()
        if self._data_left and not self._buffer:
            self._view = memoryview(data)
            return
        start = -1 if self._dropping or self._skimming else self._next_frame_start(data)
        if start >= 0:
            self._buffer += data[:start]
            self._view = memoryview(data)[start:]
            return
        try:
            self._buffer += data
        except MemoryError:
            self._clear()
            self._dropping = self._exhausted = True
            # Memory is free again, and the end of the dropped line may be in this piece.
            self._buffer += data

    def hold(self) -> None:
        """Copy the rest of the bytes received last."""
        if self._view is not None:
            view, self._view = self._view, None
            self._buffer += view

    def reset(self) -> None:
        """Discard everything, because the peer has changed."""
        self._clear()
        self._view = None
        self._data_left = 0
        self._dropping = self._exhausted = self._skimming = self._in_line = False

    def skim(self, again: bool) -> None:
        """Drop everything up to the next line that may hold a request, because what came before held none.

        Only a newline or 0xFF begins such a line.

        Args:
            again: What is dropped was reported before; otherwise it is a Damage.
        """
        self.hold()
        self._skimming = True
        self._searched = 0
        if not again:
            self._reports_drop = True
        self._dropping = self._dropping or self._in_line

    def __iter__(self) -> Iterator[Unit]:
        while (unit := self.next_unit()) is not None:
            yield unit

    def next_unit(self) -> Unit | None:
        """Return the next complete unit, or None if more bytes are needed. Out of memory is a Damage (ENOMEM)."""
        if not self._exhausted:
            try:
                if self._view is not None and not self._buffer:
                    if self._data_left:
                        return self._data_in_view(self._view)
                    frame = None if self._dropping or self._skimming else self._frame_in_view(self._view)
                    if frame is not None:
                        return frame
                    self.hold()
                return self._next_unit()
            except MemoryError:
                self._dropping = True
                self._drop()
        self._exhausted = False
        return Damage(ENOMEM, "out of memory for such a long line")

    def _next_unit(self) -> Unit | None:
        buffer = self._buffer
        if self._data_left:
            payload = bytes(memoryview(buffer)[: self._data_left])
            self._forget(len(payload))
            self._data_left -= len(payload)
            return Frame(DATA, self._data_stream, payload) if payload else None
        if self._skimming and self._reports_drop and (self._dropping or not self._may_be_request()):
            self._reports_drop = False
            return Damage(EBADMSG, "too much that is no request; dropping up to a line that may be one")
        if self._dropping and not self._drop():
            return None
        if self._skimming and not self._find_request():
            return None
        while buffer:
            first = buffer[0]
            if first == MAGIC:
                return self._next_frame()
            if first in _SKIPPED:
                # One piece at a time, because lstrip copies.
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
        """Return whether the bytes up to `end` are a line in which no frame can begin."""
        buffer = self._buffer
        return 0 <= end <= self.line_limit and buffer[end] == 0x0A and self._find(_MAGIC_BYTE) > end

    def _take_line(self, end: int, next: int) -> Line:
        line = Line(bytes(memoryview(self._buffer)[:end]))
        self._in_line = next == end
        self._forget(next)
        return line

    def _clear(self) -> None:
        self._buffer = bytearray()
        self._object.reset()
        self._next = dict.fromkeys(self._next, 0)
        self._searched = 0

    def _forget(self, length: int) -> None:
        del self._buffer[:length]
        for wanted, position in self._next.items():
            self._next[wanted] = position - length if position > length else 0
        self._object.reset()

    def _is_space_at(self, newline: int) -> bool:
        """Return whether a newline is white space within an object. If so, skip it."""
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
        """Drop bytes up to the next end of a line. Return whether there was one."""
        end = self._find_end()
        if end < 0:
            self._clear()
            return False
        self._forget(end + 1)
        self._dropping = self._in_line = False
        return True

    def _may_be_request(self) -> bool:
        """Return whether the next line may hold a request, as far as it is known."""
        buffer = self._buffer
        white = _leading(buffer[:_PIECE], _SKIPPED)
        end = buffer.find(b"\n", white)
        return end < 0 or buffer.find(_REQUEST, white, end) >= 0

    def _find_request(self) -> bool:
        """Drop lines without the word that each request holds. Return whether a line with it follows."""
        buffer = self._buffer
        found = buffer.find(_REQUEST, self._searched)
        end = len(buffer) if found < 0 else found
        # There is no end of a line in what was searched before.
        start = max(buffer.rfind(b"\n", self._searched, end), buffer.rfind(RESET_BYTE, self._searched, end)) + 1
        self._forget(start)
        # The word may be there in part.
        self._searched = max(0, end - start - len(_REQUEST) + 1)
        self._skimming = found < 0
        if self._skimming and len(buffer) > self.line_limit:
            self._clear()
            self._dropping = True
        return found >= 0

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
            # The next unit begins after a newline at the earliest.
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
        """Return the frame at the start of `view` if it is complete."""
        if len(view) < HEADER_SIZE or view[0] != MAGIC:
            return None
        try:
            type, stream, length = decode_header(view)
        except FrameError:
            return None
        end = HEADER_SIZE + length
        if end > len(view):
            if not self.splits_data or type != DATA or len(view) == HEADER_SIZE:
                return None
            self._view = None
            self._data_left, self._data_stream = end - len(view), stream
            return Frame(type, stream, view[HEADER_SIZE:])
        self._view = view[end:] if end < len(view) else None
        return Frame(type, stream, view[HEADER_SIZE:end])

    def _data_in_view(self, view: memoryview) -> Frame:
        """Return the next part of the payload of a DATA frame that was begun."""
        size = min(self._data_left, len(view))
        self._data_left -= size
        self._view = view[size:] if size < len(view) else None
        return Frame(DATA, self._data_stream, view[:size])

    def _next_frame_start(self, data: bytes | bytearray | memoryview) -> int:
        """Return the index in `data` of a frame after what is held, or -1 if none is known."""
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
    """Return the number of leading bytes that are in `characters`."""
    return len(piece) - len(piece.lstrip(characters))


def resync_padding() -> bytes:
    """Return bytes after which a parser in any state is between units.

    Send them if `sync` gets no answer, because a frame may have been truncated.
    """
    return b"\n" * RESYNC_PADDING_SIZE
