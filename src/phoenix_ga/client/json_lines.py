"""Lines of JSON that arrive on a stream."""

from __future__ import annotations

from typing import Final

from phoenix_ga.client.errors import ProtocolError
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.json_text import JsonError, decode_json

# Each byte of a path may be an escape of 6 characters.
LINE_MAX: Final = 64 * 1024


class JsonLines:
    """Reads a stream line by line.

    Args:
        what: What it carries, for error texts.
    """

    def __init__(self, stream: GuestStream, what: str) -> None:
        self.stream = stream
        self._what = what
        self._lines: list[bytes] = []
        self._rest = b""

    async def next(self) -> Reader | None:
        """Return a reader of the next value; None at the end. Raises ProtocolError if a line is not JSON."""
        while not self._lines:
            chunk = await self.stream.read_chunk()
            if not chunk:
                if self._rest:
                    raise self.broken("the last line is not complete")
                return None
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
                raise self.broken(f"a line of more than {LINE_MAX} bytes")
            self._lines = lines[::-1]
        try:
            return Reader(decode_json(self._lines.pop()), "a line")
        except JsonError as error:
            raise self.broken(str(error)) from None

    def broken(self, why: str | ReadError) -> ProtocolError:
        """Return the error for a line that the guest should not have sent."""
        return ProtocolError(f"{self._what}: {why}", self.stream.request)
