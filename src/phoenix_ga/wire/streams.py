"""Streams: byte streams beside the lines, each with a credit window in each direction.

One `Stream` is one stream as one side sees it. It turns frames into events and back, and does the
arithmetic of credit: no side sends more than the other has room for. docs/protocol.md has the rules.
"""

from __future__ import annotations

from struct import Struct

from phoenix_ga.wire.frames import DATA, END, RESET, SKIP, WINDOW, encode_header
from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json
from phoenix_ga.wire.messages import NO_CODE, AnswerError, MessageError, decode_error_value, encode_error_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.wire.units import Frame

# The longest closing message and reason, in bytes.
MESSAGE_MAX: Final = 64 * 1024
_CREDIT_MAX: Final = 2**31 - 1

_COUNT: Final = Struct(">I")
_LENGTH: Final = Struct(">Q")
_LENGTH_MAX: Final = 2**63 - 1


class StreamViolation(ValueError):
    """A frame breaks the rules of its stream, which is of no more use."""


class Stream:
    """One stream: what this side may send, and what the other side may.

    id: as in the frames. credit: how many bytes this side may send now; `sending`: it has not ended
    that. window: how many bytes the other side may send before some are `consumed`; `receiving`: it
    has not ended that. skips: the other side may leave out zeros. A direction that never exists has
    no window or, here, `sends` False.
    """

    __slots__ = ("_room", "_skipped", "_ungranted", "credit", "id", "receiving", "sending", "skips", "window")

    def __init__(self, id: int, *, credit: int, window: int, sends: bool = True, skips: bool = False) -> None:
        self.id = id
        self.credit = credit
        self.window = window
        self.sending = sends
        self.receiving = window > 0
        self.skips = skips
        self._room = window
        self._ungranted = 0
        self._skipped = False

    def __repr__(self) -> str:
        ways = "".join(sign for sign, there in ((">", self.sending), ("<", self.receiving)) if there)
        return f"Stream({self.id}, {ways or 'over'}, credit {self.credit}, room {self._room})"

    @property
    def over(self) -> bool:
        """Whether both directions have ended."""
        return not (self.sending or self.receiving)

    @property
    def room(self) -> int:
        """How many bytes the other side may send now."""
        return self._room

    # To the other side

    def data_header(self, size: int) -> bytes:
        """Return the header of a frame with `size` bytes of data, which is to be sent before them."""
        if not self.sending or size > self.credit:
            raise ValueError(f"{size} bytes are more than may be sent: {self!r}")
        self.credit -= size
        return encode_header(DATA, self.id, size)

    def skip(self, length: int) -> bytes:
        """Return the frame that stands for `length` zeros."""
        return encode_header(SKIP, self.id, _LENGTH.size) + _LENGTH.pack(length)

    def end(self, message: dict[str, Any]) -> bytes:
        """Return the frame after which this side sends no more data."""
        payload = encode_json(message)
        self.sending = False
        return encode_header(END, self.id, len(payload)) + payload

    def consumed(self, size: int) -> bytes:
        """Take note that `size` received bytes take no room any more.

        Returns the frame that says so to the other side, or nothing where that can wait.
        """
        self._ungranted += size
        # Half a window at a time: neither a frame for every few bytes, nor a sender that has to wait.
        if not self.receiving or self._ungranted * 2 < self.window:
            return b""
        granted, self._ungranted = self._ungranted, 0
        self._room += granted
        return encode_header(WINDOW, self.id, _COUNT.size) + _COUNT.pack(granted)

    def reset(self, text: str, code: int = NO_CODE) -> bytes:
        """Return the frame that ends the stream in both directions at once, and says why."""
        self.sending = self.receiving = False
        payload = encode_json(encode_error_value(text, code))
        return encode_header(RESET, self.id, len(payload)) + payload

    # From the other side

    def receive(self, frame: Frame) -> Data | Skip | Credit | End | Reset:
        """Return what a frame of this stream says. Raises StreamViolation."""
        if frame.type == DATA:
            return self._receive_data(frame.payload)
        if frame.type == WINDOW:
            return self._receive_window(frame.payload)
        if frame.type == SKIP:
            return self._receive_skip(frame.payload)
        if frame.type == END:
            if not self.receiving:
                raise StreamViolation("a second end")
            message = _decode_object(bytes(frame.payload))
            self.receiving = False
            return End(message)
        if frame.type == RESET:
            self.sending = self.receiving = False
            return Reset(_decode_reason(bytes(frame.payload)))
        raise StreamViolation(f"a frame of the unknown type {frame.type}")

    def _receive_data(self, payload: bytes | memoryview) -> Data:
        if not self.receiving:
            raise StreamViolation("data after the end")
        if len(payload) > self._room:
            raise StreamViolation(f"{len(payload)} bytes where there is room for {self._room}")
        self._room -= len(payload)
        self._skipped = self._skipped and not payload
        return Data(payload)

    def _receive_window(self, payload: bytes | memoryview) -> Credit:
        if len(payload) != _COUNT.size:
            raise StreamViolation("a malformed window")
        (granted,) = _COUNT.unpack(payload)
        if self.credit + granted > _CREDIT_MAX:
            raise StreamViolation("more credit than there can be")
        self.credit += granted
        return Credit(granted)

    def _receive_skip(self, payload: bytes | memoryview) -> Skip:
        if not (self.receiving and self.skips) or len(payload) != _LENGTH.size:
            raise StreamViolation("a skip that does not belong here")
        (length,) = _LENGTH.unpack(payload)
        if length > _LENGTH_MAX:
            raise StreamViolation("a skip that is longer than any file")
        # Zeros take no credit, so nothing else bounds how many of these come.
        if self._skipped:
            raise StreamViolation("two skips in a row")
        self._skipped = True
        return Skip(length)


class Data:
    """Bytes came. payload: they, as the frame has them."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes | memoryview) -> None:
        self.payload = payload


class Skip:
    """Zeros come next, which were left out. length: how many."""

    __slots__ = ("length", "payload")

    def __init__(self, length: int) -> None:
        self.length = length
        # What stands for them in a digest.
        self.payload = _LENGTH.pack(length)


class Credit:
    """More may be sent. granted: how many bytes more."""

    __slots__ = ("granted",)

    def __init__(self, granted: int) -> None:
        self.granted = granted


class End:
    """The other side sends no more. message: its last words."""

    __slots__ = ("message",)

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message


class Reset:
    """The stream is over in both directions. error: why."""

    __slots__ = ("error",)

    def __init__(self, error: AnswerError) -> None:
        self.error = error


def _decode_object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MESSAGE_MAX:
        raise StreamViolation(f"a closing message of {len(payload)} bytes; the limit is {MESSAGE_MAX}")
    if not payload:
        return {}
    try:
        message = decode_json(payload)
    except JsonError as error:
        raise StreamViolation(f"closing message: {error}") from None
    if type(message) is not dict:
        raise StreamViolation("a closing message that is no JSON object")
    return message


def _decode_reason(payload: bytes) -> AnswerError:
    try:
        return decode_error_value(_decode_object(payload)) if payload else AnswerError("no reason given", NO_CODE)
    except (StreamViolation, MessageError):
        # It is over whatever it says.
        return AnswerError("a reason that can't be read", NO_CODE)
