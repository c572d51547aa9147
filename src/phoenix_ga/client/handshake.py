"""The handshake on a port that may still hold data of an earlier client. No I/O."""

from __future__ import annotations

from typing import Final

from phoenix_ga.wire.messages import Answer, MessageError, decode_answer, encode_request
from phoenix_ga.wire.units import RESET_BYTE

# The longest answer to `sync`.
_ANSWER_MAX: Final = 512


class Handshake:
    """Finds the answer to a `sync` request among data of earlier clients.

    number: the id that is sent and expected. tag: of the request. refused: the error answer of an agent that does
    not know `sync`.
    """

    def __init__(self, number: int, tag: str) -> None:
        self.number = number
        self.tag = tag
        self.refused: Answer | None = None
        self._tag_bytes = tag.encode()
        self._buffer = bytearray()

    def request(self) -> bytes:
        """Return the bytes to send: the end of an unfinished line, and the request."""
        return RESET_BYTE + encode_request("sync", {"id": self.number}, self.tag)

    def receive(self, data: bytes | memoryview) -> bytes | None:
        """Process received bytes; return those after the answer, or None if it has not arrived.

        Keeps at most the length of the longest answer, besides `data`.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        # The parser of units would take the answer for the rest of an unfinished frame. Only lines with the tag are
        # decoded, because there may be much data before it.
        while (found := buffer.find(self._tag_bytes, start)) >= 0:
            end = buffer.find(b"\n", found)
            if end < 0:
                break
            start = max(start, buffer.rfind(b"\n", start, found) + 1)
            # An answer without the mark is valid only if it is an error.
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
