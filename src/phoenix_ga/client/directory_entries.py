"""The entries of a directory of the guest, as they arrive."""

from __future__ import annotations

import stat
from typing import Final

from phoenix_ga.client.errors import ProtocolError, StreamError
from phoenix_ga.client.models import FileStatus
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import in_time
from phoenix_ga.trees.report import MISSING
from phoenix_ga.wire.json_text import JsonError, decode_json

# A name and the target of a link, each byte of which may be an escape of 6 characters.
_LINE_MAX: Final = 64 * 1024
_NUMBERS: Final = 13
# Of a report, which has a hundred lines.
_REPORT_MAX: Final = 256 * 1024
# Seconds of 64 bits, in nanoseconds: tmpfs stores such times.
_NUMBER_MAX: Final = 2**65 * 1_000_000_000
_PLAIN: Final = [str, *[int] * _NUMBERS]
_NAMED: Final = [*_PLAIN, str, str, str]
_MODE: Final = 4


class DirectoryEntries:
    """The entries of a directory, in the order of the filesystem. `async for entry in entries` yields them.

    It holds one page at a time, so that a directory of any size takes the same memory.

    Attributes:
        stream: the stream on which they arrive.
        stderr: a report of what could not be read; None for a single directory.
    """

    stream: GuestStream
    stderr: GuestStream | None

    def __init__(
        self, stream: GuestStream, names: bool, timeout: float | None, stderr: GuestStream | None = None
    ) -> None:
        self.stream = stream
        self.stderr = stderr
        self._types = _NAMED if names else _PLAIN
        self._timeout = timeout
        self._rest = b""
        self._page: list[FileStatus] = []

    async def __aenter__(self) -> DirectoryEntries:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()
        if self.stderr is not None:
            await self.stderr.reset()

    def __aiter__(self) -> DirectoryEntries:
        return self

    async def __anext__(self) -> FileStatus:
        if not self._page:
            self._page = (await self.read_page())[::-1]
            if not self._page:
                raise StopAsyncIteration
        return self._page.pop()

    async def read_page(self) -> list[FileStatus]:
        """Return the next entries, about a thousand; none at the end.

        The timeout of the guest limits the wait.
        """
        while chunk := await in_time(self._timeout, self.stream.read_chunk(), self.stream.request):
            lines, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
            if len(self._rest) > _LINE_MAX:
                raise self._broken(f"a line of more than {_LINE_MAX} bytes")
            if newline:
                return self._parse(lines)
        if self._rest:
            raise self._broken("the last line is not complete")
        return []

    async def problems(self) -> tuple[str, ...]:
        """Return what could not be read, a printable line each, once all entries have been read.

        Raises:
            StreamError: the guest gave up without a reason, or the report is too long.
        """
        text = b"" if self.stderr is None else await self.stderr.read_all(_REPORT_MAX)
        lines = [
            "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line.removeprefix(MISSING))
            for line in text.decode("utf-8", "backslashreplace").splitlines()
        ]
        if self.stderr is not None and (self.stream.message or {}).get("status") not in (0, 1) and not lines:
            raise StreamError("the guest gave up", request=self.stream.request)
        return tuple(lines)

    def _parse(self, lines: bytes) -> list[FileStatus]:
        entries = []
        for line in lines.split(b"\n"):
            try:
                # One after the other: short texts are decoded faster.
                row = decode_json(line)
            except JsonError as error:
                raise self._broken(str(error)) from None
            if type(row) is not list or list(map(type, row)) != self._types:
                raise self._broken("a line does not describe an entry")
            numbers = row[1 : 1 + _NUMBERS]
            if min(numbers) < -_NUMBER_MAX or max(numbers) > _NUMBER_MAX:
                raise self._broken("a number is out of range")
            # A guest may send more bits than the stat module accepts.
            is_directory = stat.S_ISDIR(row[_MODE] & 0o177777)
            entries.append(FileStatus(row[0], is_directory, *row[1:]))
        return entries

    def _broken(self, text: str) -> ProtocolError:
        return ProtocolError(f"the entries of a directory: {text}", self.stream.request)
