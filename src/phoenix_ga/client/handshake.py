"""The start of a conversation on a port that may still hold what an earlier client left.

No I/O here: bytes in, and what follows the answer to `sync` out.
"""

from __future__ import annotations

from typing import Final

from phoenix_ga.wire.messages import Answer, MessageError, decode_answer, encode_request
from phoenix_ga.wire.units import RESET_BYTE

# No answer to `sync`, whichever tag it carries, is longer than this.
_ANSWER_MAX: Final = 512


class Handshake:
    """Finds the answer to one `sync` among all that an earlier client may have left.

    number: the id to be sent and expected. tag: of the request. refused: the error answer of an agent
    that does not know `sync`, once it came.
    """

    def __init__(self, number: int, tag: str) -> None:
        self.number = number
        self.tag = tag
        self.refused: Answer | None = None
        self._tag_bytes = tag.encode()
        self._buffer = bytearray()

    def request(self) -> bytes:
        """Return the bytes to send: they end a line that was left unfinished, and ask."""
        return RESET_BYTE + encode_request("sync", {"id": self.number}, self.tag)

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes as they came; return those after the answer once it is there, else None.

        Holds no more than the longest answer, besides `data`.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        # What precedes the answer may be half a frame, so that no parser of units could find it. And there may
        # be much of it, so that only lines with the tag are looked at.
        while (found := buffer.find(self._tag_bytes, start)) >= 0:
            end = buffer.find(b"\n", found)
            if end < 0:
                break
            start = max(start, buffer.rfind(b"\n", start, found) + 1)
            # An answer without the mark is of interest only where it is a refusal.
            mark = buffer.rfind(RESET_BYTE, start, end)
            if self._is_answer(bytes(buffer[max(mark + 1, start) : end]), marked=mark >= 0):
                rest = bytes(buffer[end + 1 :])
                buffer.clear()
                return rest
            start = end + 1
        del buffer[: max(start, len(buffer) - _ANSWER_MAX)]
        return None

    def _is_answer(self, line: bytes, marked: bool) -> bool:
        if len(line) > _ANSWER_MAX:
            return False
        try:
            answer = decode_answer(line)
        except MessageError:
            return False
        if answer.tag != self.tag:
            return False
        if answer.error is not None:
            self.refused = answer
        return marked and type(answer.value) is int and answer.value == self.number
