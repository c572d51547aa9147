"""Frames: binary units that carry bulk data on the same byte stream as lines.

A frame is a header of 12 bytes, big-endian, followed by its payload:

    offset  size  member
    0       1     magic, 0xFB: it does not occur in UTF-8, so no line begins with it
    1       1     type
    2       2     check over type, stream and length, to recognize garbage
    4       4     stream
    8       4     length of the payload in bytes, at most 262144
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAGIC: Final = 0xFB
# A compromise between the latency of an answer behind a frame and the overhead of each frame.
PAYLOAD_LIMIT: Final = 256 * 1024

DATA: Final = 1
WINDOW: Final = 2
END: Final = 3
RESET: Final = 4
SKIP: Final = 5

_HEADER: Final = Struct(">BBHII")
HEADER_SIZE: Final = _HEADER.size
_CHECK_SEED: Final = 0x5048


class FrameError(ValueError):
    """The bytes are not a frame header, or the frame is too large."""


def _check(type: int, stream: int, length: int) -> int:
    return (_CHECK_SEED ^ type * 0x0101 ^ stream ^ stream >> 16 ^ length ^ length >> 16) & 0xFFFF


def encode_header(type: int, stream: int, length: int) -> bytes:
    """Return the header of a frame with a payload of `length` bytes.

    Raises:
        FrameError: if `length` exceeds PAYLOAD_LIMIT.
    """
    if length > PAYLOAD_LIMIT:
        raise FrameError(f"a frame carries at most {PAYLOAD_LIMIT} bytes, not {length}")
    return _HEADER.pack(MAGIC, type, _check(type, stream, length), stream, length)


def decode_header(header: bytes | bytearray | memoryview) -> tuple[int, int, int]:
    """Return type, stream and payload length from the first HEADER_SIZE bytes of `header`.

    Raises:
        FrameError: if they are not a frame header, or the payload is too large.
    """
    magic, type, check, stream, length = _HEADER.unpack_from(header)
    if magic != MAGIC or check != _check(type, stream, length):
        raise FrameError("damaged frame header")
    if length > PAYLOAD_LIMIT:
        raise FrameError(f"frame of {length} bytes; the limit is {PAYLOAD_LIMIT}")
    return type, stream, length
