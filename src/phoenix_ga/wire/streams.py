"""Streams: byte streams in frames, with credit-based flow control in each direction.

A `Stream` is one side's view of a stream. It converts frames to events and back, and keeps account of credit.
docs/protocol.md has the rules.
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

# Limit of a closing message or reason, in bytes.
MESSAGE_MAX: Final = 64 * 1024
_CREDIT_MAX: Final = 2**31 - 1

# Codes of a RESET that says that the agent has lost the stream, and not that the stream itself failed: EIDRM,
# ENOLINK (from a hub, also in answers) and ESHUTDOWN of Linux, which files, pipes and sockets do not return.
UNKNOWN_STREAM: Final = 43
LINK_LOST: Final = 67
AGENT_STOPPING: Final = 108

_COUNT: Final = Struct(">I")
_LENGTH: Final = Struct(">Q")
_LENGTH_MAX: Final = 2**63 - 1


class StreamViolation(ValueError):
    """A frame violates the rules of its stream. The stream cannot be used any more."""


class Stream:
    """One side's view of a stream.

    Attributes:
        id: Number of the stream.
        credit: Number of bytes that this side may send now.
        window: Number of bytes that the other side may have outstanding; 0: it sends none.
        sending, receiving: Whether this side, and the other side, may still send.
        skips: Whether the other side may send SKIP.
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
        """Number of bytes that the other side may send now."""
        return self._room

    # Sending

    def data_header(self, size: int) -> bytes:
        """Return the header of a DATA frame; send it before the `size` bytes of data."""
        if not self.sending or size > self.credit:
            raise ValueError(f"{size} bytes exceed the credit: {self!r}")
        self.credit -= size
        return encode_header(DATA, self.id, size)

    def skip(self, length: int) -> bytes:
        """Return the frame that replaces `length` zero bytes."""
        return encode_header(SKIP, self.id, _LENGTH.size) + _LENGTH.pack(length)

    def end(self, message: dict[str, Any]) -> bytes:
        """End this side's direction, and return the frame with the closing message."""
        payload = encode_json(message)
        self.sending = False
        return encode_header(END, self.id, len(payload)) + payload

    def consumed(self, size: int) -> bytes:
        """Note that `size` received bytes have been processed.

        Returns:
            The frame that grants the other side new credit, or nothing if that can wait.
        """
        self._ungranted += size
        # Half a window at a time: few frames, and the sender does not run out of credit.
        if not self.receiving or self._ungranted * 2 < self.window:
            return b""
        granted, self._ungranted = self._ungranted, 0
        self._room += granted
        return encode_header(WINDOW, self.id, _COUNT.size) + _COUNT.pack(granted)

    def allow(self, size: int) -> None:
        """Note that a WINDOW for `size` bytes, made elsewhere, was passed on to the other side."""
        self._room = min(self._room + size, _CREDIT_MAX)

    def reset(self, text: str, code: int = NO_CODE) -> bytes:
        """End both directions, and return the frame that gives the reason."""
        self.sending = self.receiving = False
        payload = encode_json(encode_error_value(text, code))
        return encode_header(RESET, self.id, len(payload)) + payload

    # Receiving

    def receive(self, frame: Frame) -> Data | Skip | Credit | End | Reset:
        """Return the event that a frame of this stream stands for. Raises StreamViolation."""
        if frame.type == DATA:
            return self._receive_data(frame.payload)
        if frame.type == WINDOW:
            return self._receive_window(frame.payload)
        if frame.type == SKIP:
            return self._receive_skip(frame.payload)
        if frame.type == END:
            if not self.receiving:
                raise StreamViolation("END after END")
            message = _decode_object(bytes(frame.payload))
            self.receiving = False
            return End(message)
        if frame.type == RESET:
            self.sending = self.receiving = False
            return Reset(_decode_reason(bytes(frame.payload)))
        raise StreamViolation(f"unknown frame type {frame.type}")

    def _receive_data(self, payload: bytes | memoryview) -> Data:
        if not self.receiving:
            raise StreamViolation("DATA after END")
        if len(payload) > self._room:
            raise StreamViolation(f"{len(payload)} bytes exceed the window, which has room for {self._room}")
        self._room -= len(payload)
        self._skipped = self._skipped and not payload
        return Data(payload)

    def _receive_window(self, payload: bytes | memoryview) -> Credit:
        if len(payload) != _COUNT.size:
            raise StreamViolation("malformed WINDOW")
        (granted,) = _COUNT.unpack(payload)
        if self.credit + granted > _CREDIT_MAX:
            raise StreamViolation("credit exceeds the maximum")
        self.credit += granted
        return Credit(granted)

    def _receive_skip(self, payload: bytes | memoryview) -> Skip:
        if not (self.receiving and self.skips) or len(payload) != _LENGTH.size:
            raise StreamViolation("unexpected or malformed SKIP")
        (length,) = _LENGTH.unpack(payload)
        if length > _LENGTH_MAX:
            raise StreamViolation("SKIP longer than any file")
        # SKIP needs no credit, so nothing else limits their number.
        if self._skipped:
            raise StreamViolation("two SKIP frames in a row")
        self._skipped = True
        return Skip(length)


class Data:
    """Bytes arrived. payload: a view of the frame's payload, not a copy."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes | memoryview) -> None:
        self.payload = payload


class Skip:
    """Zero bytes that were not sent. length: their number. payload: replaces them in a digest."""

    __slots__ = ("length", "payload")

    def __init__(self, length: int) -> None:
        self.length = length
        self.payload = _LENGTH.pack(length)


class Credit:
    """More bytes may be sent. granted: their number."""

    __slots__ = ("granted",)

    def __init__(self, granted: int) -> None:
        self.granted = granted


class End:
    """The other side has ended its direction. message: its closing message."""

    __slots__ = ("message",)

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message


class Reset:
    """Both directions have ended. error: the reason."""

    __slots__ = ("error",)

    def __init__(self, error: AnswerError) -> None:
        self.error = error


def _decode_object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MESSAGE_MAX:
        raise StreamViolation(f"closing message of {len(payload)} bytes; the limit is {MESSAGE_MAX}")
    if not payload:
        return {}
    try:
        message = decode_json(payload)
    except JsonError as error:
        raise StreamViolation(f"closing message: {error}") from None
    if type(message) is not dict:
        raise StreamViolation("the closing message is not a JSON object")
    return message


def _decode_reason(payload: bytes) -> AnswerError:
    try:
        return decode_error_value(_decode_object(payload)) if payload else AnswerError("no reason given", NO_CODE)
    except (StreamViolation, MessageError):
        # RESET is valid whatever its payload is.
        return AnswerError("unreadable reason", NO_CODE)
