"""Files of the guest as objects to read from and to write to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phoenix_ga.client.shapes import Shape
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import finish, in_time

if TYPE_CHECKING:
    from phoenix_ga.client.guest import Guest


@dataclass(frozen=True)
class FileStream:
    """What is in a file, as a stream. size: in bytes. mode: permissions. mtime: nanoseconds since 1970."""

    stream: GuestStream
    size: int
    mode: int
    mtime: int

    @classmethod
    def read(cls, shape: Shape, stream: GuestStream) -> FileStream:
        """Return what an answer says. Raises ShapeError."""
        return cls(stream, *(shape.member(name).integer() for name in ("size", "mode", "mtime")))


class GuestFile:
    """A file of the guest, made by `Guest.open`. Not for several tasks at once.

    What is written appears when the file is closed. Where the body of an `async with` fails, nothing
    does.
    """

    def __init__(self, guest: Guest, path: str, sink: GuestStream | None) -> None:
        self._guest = guest
        self._sink = sink
        self._source: GuestStream | None = None
        self._rest = bytearray()
        self._offset = 0
        self._closed = False
        self.path = path

    @classmethod
    async def open(cls, guest: Guest, path: str, mode: str, perm: int) -> GuestFile:
        """Open a file; see `Guest.open`."""
        if mode == "rb":
            file = cls(guest, path, None)
            # That it is not there should be said now.
            await file.seek(0)
            return file
        if mode == "wb":
            return cls(guest, path, await guest.file_put(path, perm, digest=False))
        raise ValueError(f"mode must be 'rb' or 'wb', not {mode!r}")

    async def __aenter__(self) -> GuestFile:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abandon()

    def tell(self) -> int:
        """Return where the next byte is read or written."""
        return self._offset

    async def seek(self, offset: int) -> None:
        """Read from `offset` on."""
        if self._sink is not None:
            raise io.UnsupportedOperation("a file that is written can't seek")
        await self._end_source()
        self._offset = offset
        self._source = (await self._guest.file_get(self.path, offset, digest=False)).stream

    async def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, fewer only at the end of the file; -1: all that are left."""
        if self._source is None:
            raise io.UnsupportedOperation("the file is not open for reading")
        while size < 0 or len(self._rest) < size:
            piece = await in_time(self._guest.timeout, self._source.read(), self._source.request)
            if not piece:
                break
            self._rest += piece
        data = bytes(self._rest if size < 0 else self._rest[:size])
        del self._rest[: len(data)]
        self._offset += len(data)
        return data

    async def write(self, data: bytes) -> int:
        """Append to the file; return the number of bytes."""
        if self._sink is None:
            raise io.UnsupportedOperation("the file is not open for writing")
        await in_time(self._guest.timeout, self._sink.write(data), self._sink.request)
        self._offset += len(data)
        return len(data)

    async def close(self) -> None:
        """Close the file. One that was written is in its place, and on the disk, then."""
        if self._closed:
            return
        self._closed = True
        await self._end_source()
        if self._sink is not None:
            async with self._sink as sink:
                await finish(self._guest, self.path, sink, self._offset)

    async def abandon(self) -> None:
        """Close the file. One that was written is dropped, and what was in its place stays."""
        self._closed = True
        await self._end_source()
        if self._sink is not None:
            await self._sink.reset()

    async def _end_source(self) -> None:
        source, self._source, self._rest = self._source, None, bytearray()
        if source is not None:
            await source.reset()
