"""Copying whole files in both directions, with holes and digests."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Optional, TypeVar

from phoenix_ga.client import timeouts
from phoenix_ga.client.attributes import Taken
from phoenix_ga.client.digests import NONE, SHA256, Digest, Verify, choose_digest
from phoenix_ga.client.errors import GuestTimeoutError, PhoenixError, StreamError, TransferDamagedError
from phoenix_ga.wire.declaration import INT64_MAX
from phoenix_ga.wire.streams import Skip

if TYPE_CHECKING:
    from phoenix_ga.client.commands import Commands
    from phoenix_ga.client.file_streams import FileStream
    from phoenix_ga.client.streams import GuestStream
    from phoenix_ga.wire.messages import Request

_PIECE_SIZE: Final = 1024 * 1024
# The lowest speed of a disk that is expected when flushing and hashing, in bytes per second.
SLOW_DISK: Final = 5_000_000

Progress = Callable[[int, Optional[int]], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Transferred:
    """A copied file.

    Attributes:
        size: in bytes.
        verified: guest and host have compared digests.
        algorithm: the digest that they compared: "xxh64", "crc32" or "sha256", as docs/protocol.md defines them;
            None if none.
        digest: its value, in hex.
        digest_of: what it is of: "file"; "stream" for a file with holes, which are left out; "rest" for the bytes
            that were copied after a resumed transfer's; None if there is none.
        resumed: bytes that an earlier transfer had copied.
        notes: what was left out on purpose and why, a line each: extended attributes. Control characters are escaped.
    """

    size: int
    verified: bool
    algorithm: str | None = None
    digest: str | None = None
    digest_of: str | None = None
    resumed: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, size: int, digest: Digest, notes: tuple[str, ...], resumed: int = 0) -> Transferred:
        """Return a file whose `digest` was compared, unless it is none."""
        value = digest.value()
        if value is None:
            return cls(size, False, resumed=resumed, notes=notes)
        of = "rest" if resumed else "stream" if digest.has_holes else "file"
        return cls(size, True, digest.algorithm, value, of, resumed, notes)

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the whole file, in hex, if it was computed."""
        return self.digest if self.algorithm == SHA256 and self.digest_of == "file" else None


async def get_file(
    guest: Commands,
    remote: str,
    local: str,
    taken: Taken,
    verify: Verify,
    progress: Progress | None,
) -> Transferred:
    """Copy `remote` from the guest to `local`. See `Guest.get`."""
    digest = Digest(await choose_digest(verify, guest))
    # Holes are skipped in a new file only: a device would keep its old data there, and a pipe needs the zeros.
    sparse = not is_special(local)
    # A device or a pipe has no attributes to set.
    xattrs = bool(taken.xattrs) and sparse
    async with guest.files.get_stream(remote, digest=digest.algorithm, sparse=sparse, xattrs=xattrs) as source:
        with _replacing(local, taken, source) as file:
            size = await receive(guest, remote, source, file, local, 0, digest, progress)
    return Transferred.of(size, digest, taken.left_out(source.xattrs) if sparse else ())


async def receive(
    guest: Commands,
    remote: str,
    source: FileStream,
    file: BinaryIO,
    local: str,
    start: int,
    digest: Digest,
    progress: Progress | None,
) -> int:
    """Append a stream to `file`, which has `start` bytes, and to `digest`; return the new size of the file."""
    size = start
    while piece := await in_time(guest.timeout, source.read_piece(), source.stream.request):
        size += piece.length if isinstance(piece, Skip) else len(piece)
        if size > INT64_MAX:
            raise StreamError("the guest sent more than a file can hold", request=source.stream.request)
        digest.update(piece)
        _append(file, piece, local)
        if progress is not None:
            progress(size, source.size or None)
    _compare(remote, source.stream, size - start, digest)
    return size


async def copy_file(
    source: Commands,
    path: str,
    target: Commands,
    target_path: str,
    taken: Taken,
    verify: Verify,
    progress: Progress | None,
) -> Transferred:
    """Copy a file between guests. See `copy_between`."""
    digest = Digest(name := await choose_digest(verify, source, target))
    size = 0
    async with (
        source.files.get_stream(path, digest=name, sparse=True, xattrs=bool(taken.xattrs)) as origin,
        target.files.put_stream(target_path, digest=name, **taken.from_guest(origin)) as stream,
    ):
        while piece := await in_time(source.timeout, origin.read_piece(), origin.stream.request):
            size += await _send_piece(target, stream, piece, digest)
            if progress is not None:
                progress(size, origin.size or None)
        _compare(path, origin.stream, size, digest)
        await finish(target, target_path, stream, size, digest)
    return Transferred.of(size, digest, taken.left_out(origin.xattrs))


async def put_file(
    guest: Commands,
    local: str,
    remote: str,
    taken: Taken,
    verify: Verify,
    progress: Progress | None,
) -> Transferred:
    """Copy `local` to `remote` in the guest. See `Guest.put`."""
    with open_regular(local) as file:
        digest = Digest(name := await choose_digest(verify, guest))
        arguments, notes = taken.from_host(file.fileno(), local)
        async with guest.files.put_stream(remote, digest=name, **arguments) as stream:
            size = await send(guest, remote, stream, file, local, 0, digest, progress)
    return Transferred.of(size, digest, notes)


async def send(
    guest: Commands,
    remote: str,
    stream: GuestStream,
    file: BinaryIO,
    local: str,
    start: int,
    digest: Digest,
    progress: Progress | None,
) -> int:
    """Send `file` from byte `start` on, and add it to `digest`; return its size. local: for errors."""
    size = start
    total = os.fstat(file.fileno()).st_size
    for piece in _pieces(file, start):
        size += await _send_piece(guest, stream, piece, digest)
        if progress is not None:
            progress(size, total)
    if size < total and os.fstat(file.fileno()).st_size < total:
        raise OSError(errno.ESTALE, "the file became shorter while it was read; try again", local)
    await finish(guest, remote, stream, size, digest)
    return size


async def _send_piece(guest: Commands, stream: GuestStream, piece: bytes | Skip, digest: Digest) -> int:
    """Send a piece of a file and add it to the digest; return its length in the file."""
    digest.update(piece)
    if isinstance(piece, Skip):
        await in_time(guest.timeout, stream.skip(piece.length), stream.request)
        return piece.length
    await in_time(guest.timeout, stream.write(piece), stream.request)
    return len(piece)


async def finish(guest: Commands, name: str, stream: GuestStream, size: int, digest: Digest | None = None) -> None:
    """End the stream of a file, and wait until the guest has flushed it to its disk."""
    digest = digest or Digest(NONE)
    try:
        message: dict[str, Any] = {"size": size, **digest.members()}
        await in_time(guest.timeout, stream.end(message), stream.request)
        limit = None if guest.timeout is None else guest.timeout + size / SLOW_DISK
        # A guest that sends data here must not extend the wait.
        await in_time(limit, stream.read_all(0), stream.request)
    except StreamError as error:
        if error.code == errno.EBADMSG:
            raise TransferDamagedError(f"{name}: {error.text}", stream.request) from None
        raise
    _compare(name, stream, size, digest)


def _compare(name: str, stream: GuestStream, size: int, digest: Digest) -> None:
    message = stream.message or {}
    expected: dict[str, Any] = {"size": size, **digest.members()}
    for member, here in expected.items():
        there = message.get(member)
        if type(there) is not type(here) or there != here:
            # Values of other types may be too large or too deeply nested to be shown.
            shown = repr(there)[:80] if isinstance(there, (int, str)) else "invalid"
            text = f"{name}: {member} is {here} on the host and {shown} in the guest; try again"
            raise TransferDamagedError(text, stream.request)


async def in_time(limit: float | None, step: Awaitable[Result], request: Request) -> Result:
    """Await a step of a transfer for at most `limit` seconds. Raises GuestTimeoutError."""
    try:
        async with timeouts.timeout(limit):
            return await step
    except asyncio.TimeoutError as error:
        if isinstance(error, PhoenixError):
            raise
        raise GuestTimeoutError(f"no progress for {limit:g} s", request) from None


def _pieces(file: BinaryIO, offset: int) -> Iterator[bytes | Skip]:
    """Yield the content of a file from `offset` on, holes as Skip."""
    while True:
        hole = _hole_at(file.fileno(), offset)
        if hole:
            yield Skip(hole)
            offset += hole
        file.seek(offset)
        data = file.read(_PIECE_SIZE)
        if not data:
            return
        yield data
        offset += len(data)


def _hole_at(fd: int, offset: int) -> int:
    try:
        data = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: only a hole follows.
        data = os.fstat(fd).st_size if error.errno == errno.ENXIO else offset
    return max(0, data - offset)


def _append(file: BinaryIO, piece: bytes | Skip, path: str) -> None:
    """Append a piece. path: for errors."""
    try:
        if isinstance(piece, Skip):
            # Truncate now, so that a filesystem that does not support such large files fails here.
            file.seek(file.truncate(file.tell() + piece.length))
        else:
            file.write(piece)
    except OSError as error:
        error.filename = path
        raise


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading. Raises OSError."""
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory; put_tree copies directories", path)
    raise OSError(errno.EINVAL, "not a regular file", path)


def is_special(path: str) -> bool:
    """Return whether `path` exists and is not a regular file."""
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def _replacing(path: str, taken: Taken, source: FileStream) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` if the body succeeds, and is removed if not.

    It gets attributes as `Taken.apply` says.
    A special file, such as a device, is written to directly.
    """
    # Not what it resolves to, which is nothing for a pipe in /proc/self/fd.
    if is_special(path):
        with open(path, "wb") as device:
            yield device
        return
    target = os.path.realpath(path)
    directory, name = os.path.split(target)
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{name[:64]}.", suffix=".part", dir=directory)
    except OSError as error:
        error.filename = path
        raise
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            # Writing later would change the modification time.
            file.flush()
            taken.apply(file.fileno(), target, source)
            replace_durably(file.fileno(), temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def replace_durably(fd: int, path: str, target: str) -> None:
    """Rename the open file `fd` from `path` to `target`, so that a power loss leaves the old or the new file."""
    os.fsync(fd)
    os.replace(path, target)
    directory = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
