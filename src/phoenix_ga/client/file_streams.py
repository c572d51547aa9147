"""Streams of files and directories."""

from __future__ import annotations

from phoenix_ga.client.reader import Reader
from phoenix_ga.client.streams import GuestStream, Piece


class FileStream:
    """The content of a file as a stream. `async for chunk in stream` yields it.

    Attributes:
        stream: the stream.
        size: of the file, in bytes.
        permissions: of the file.
        mtime: its modification time, in nanoseconds since the epoch.
        uid, gid: its owner.
    """

    stream: GuestStream
    size: int
    permissions: int
    mtime: int
    uid: int
    gid: int

    def __init__(self, stream: GuestStream, size: int, permissions: int, mtime: int, uid: int, gid: int) -> None:
        self.stream = stream
        self.size = size
        self.permissions = permissions
        self.mtime = mtime
        self.uid = uid
        self.gid = gid

    @classmethod
    def read_from(cls, reader: Reader, stream: GuestStream) -> FileStream:
        """Return what an answer describes. Raises ReadError."""
        return cls(stream, *(reader.member(name).integer() for name in ("size", "mode", "mtime", "uid", "gid")))

    async def __aenter__(self) -> FileStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()

    def __aiter__(self) -> FileStream:
        return self

    async def __anext__(self) -> bytes:
        return await self.stream.__anext__()

    async def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none at the end; -1: read to the end."""
        return await self.stream.read(size)

    async def read_piece(self) -> Piece:
        """Return the next data, none at the end, or a Skip for a hole."""
        return await self.stream.read_piece()


class DirectoryStream:
    """A directory as a tar stream.

    Attributes:
        stream: the tar stream.
        stderr: a report of what the guest left out.
    """

    stream: GuestStream
    stderr: GuestStream

    def __init__(self, stream: GuestStream, stderr: GuestStream) -> None:
        self.stream = stream
        self.stderr = stderr

    async def __aenter__(self) -> DirectoryStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()
        await self.stderr.reset()
