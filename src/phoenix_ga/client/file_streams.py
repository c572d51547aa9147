"""Streams of files and directories."""

from __future__ import annotations

from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream, Piece
from phoenix_ga.trees.xattrs import check_size, is_known
from phoenix_ga.wire.base64_text import decode_base64


class FileStream:
    """The content of a file as a stream. `async for chunk in stream` yields it.

    Attributes:
        stream: the stream.
        size: of the file, in bytes.
        permissions: of the file.
        mtime: its modification time, in nanoseconds since the epoch.
        uid, gid: its owner.
        xattrs: its extended attributes, or the names of usual ones and None.
    """

    stream: GuestStream
    size: int
    permissions: int
    mtime: int
    uid: int
    gid: int
    xattrs: dict[bytes, bytes | None]

    def __init__(
        self,
        stream: GuestStream,
        xattrs: dict[bytes, bytes | None],
        size: int,
        permissions: int,
        mtime: int,
        uid: int,
        gid: int,
    ) -> None:
        self.stream = stream
        self.size = size
        self.permissions = permissions
        self.mtime = mtime
        self.uid = uid
        self.gid = gid
        self.xattrs = xattrs

    @classmethod
    def read_from(cls, reader: Reader, stream: GuestStream) -> FileStream:
        """Return what an answer describes. Raises ReadError."""
        numbers = (reader.member(name).integer() for name in ("size", "mode", "mtime", "uid", "gid"))
        return cls(stream, _read_attributes(reader), *numbers)

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


def _read_attributes(reader: Reader) -> dict[bytes, bytes | None]:
    if not reader.has("xattrs"):
        return {}
    attributes: dict[bytes, bytes | None] = {}
    for text, value in reader.member("xattrs").members(lambda each: each.optional(Reader.text)).items():
        try:
            name = text.encode("utf-8", "surrogateescape")
            data = None if value is None else decode_base64(value)
        except ValueError:
            raise ReadError("an extended attribute is malformed") from None
        if not is_known(name):
            raise ReadError("the guest sent an extended attribute that cannot be copied")
        attributes[name] = data
    try:
        check_size({name: data or b"" for name, data in attributes.items()})
    except OSError as error:
        raise ReadError(f"the guest sent {error.strerror}") from None
    return attributes


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
