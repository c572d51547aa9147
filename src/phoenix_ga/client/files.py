"""Files of the guest as file objects."""

from __future__ import annotations

import io
from typing import Final

from phoenix_ga.client.commands import Commands
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import finish, in_time

LINE_MAX: Final = 64 * 1024


class GuestFile:
    """A file of the guest, opened by `Guest.open`; for one task at a time.

    `async for line in file` yields lines, of at most 64 KiB. A file that is written appears when it is closed; if
    the body of an `async with` fails, nothing changes in the guest.

    Attributes:
        path: the path in the guest.
    """

    path: str

    def __init__(self, guest: Commands, path: str, sink: GuestStream | None) -> None:
        self._guest = guest
        self._sink = sink
        self._source: GuestStream | None = None
        self._buffer = bytearray()
        self._offset = 0
        self._closed = False
        self.path = path

    @classmethod
    async def open(
        cls, guest: Commands, path: str, mode: str, permissions: int | None, unless_changed: int | None
    ) -> GuestFile:
        """Open a file; see `Guest.open`."""
        if mode == "rb":
            file = cls(guest, path, None)
            # Raise now if it cannot be read.
            await file.seek(0)
            return file
        if mode == "wb":
            sink = await guest.files.put_stream(path, permissions, digest=False, unless_changed=unless_changed)
            return cls(guest, path, sink)
        raise ValueError(f"mode must be 'rb' or 'wb', not {mode!r}")

    async def __aenter__(self) -> GuestFile:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            await self.close()
        else:
            await self.discard()

    def __aiter__(self) -> GuestFile:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def tell(self) -> int:
        """Return the position in the file."""
        return self._offset

    async def seek(self, offset: int) -> None:
        """Set the position for reading, in bytes from the start."""
        if self._sink is not None:
            raise io.UnsupportedOperation("a file open for writing cannot seek")
        await self._end_source()
        self._offset = offset
        self._source = (await self._guest.files.get_stream(self.path, offset, digest=False)).stream

    async def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end of the file; -1: everything up to the end."""
        while (size < 0 or len(self._buffer) < size) and await self._fill():
            pass
        return self._take(len(self._buffer) if size < 0 else size)

    async def readline(self, limit: int = LINE_MAX) -> bytes:
        """Return the next line with its newline, at most `limit` bytes of it; empty at the end of the file."""
        while (end := self._buffer.find(b"\n", 0, limit)) < 0 and len(self._buffer) < limit and await self._fill():
            pass
        return self._take(limit if end < 0 else end + 1)

    async def _fill(self) -> bool:
        """Receive more data; return whether there was any."""
        if self._source is None:
            raise io.UnsupportedOperation("the file is not open for reading")
        chunk = await in_time(self._guest.timeout, self._source.read_chunk(), self._source.request)
        self._buffer += chunk
        return bool(chunk)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._offset += len(data)
        return data

    async def write(self, data: bytes) -> int:
        """Append to the file; return the number of bytes."""
        if self._sink is None:
            raise io.UnsupportedOperation("the file is not open for writing")
        await in_time(self._guest.timeout, self._sink.write(data), self._sink.request)
        self._offset += len(data)
        return len(data)

    async def wait_failed(self) -> None:
        """Wait until the guest gives up the file that is written, or the connection is lost. Raises the error."""
        if self._sink is None:
            raise io.UnsupportedOperation("the file is not open for writing")
        await self._sink.wait_failed()

    async def close(self) -> None:
        """Close the file. A file that was written is at its place and on the disk afterwards."""
        if self._closed:
            return
        self._closed = True
        await self._end_source()
        if self._sink is not None:
            async with self._sink as sink:
                await finish(self._guest, self.path, sink, self._offset)

    async def discard(self) -> None:
        """Close the file, and drop what was written."""
        self._closed = True
        await self._end_source()
        if self._sink is not None:
            await self._sink.reset()

    async def _end_source(self) -> None:
        source, self._source, self._buffer = self._source, None, bytearray()
        if source is not None:
            await source.reset()
