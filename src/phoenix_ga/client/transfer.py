"""Whole files in both directions, holes and all, with a digest at the end."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Optional, TypeVar

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import GuestError, GuestTimeout, StreamBroken, TransferDamaged
from phoenix_ga.wire.declaration import INT64_MAX
from phoenix_ga.wire.streams import Skip

if TYPE_CHECKING:
    from phoenix_ga.client.files import FileStream
    from phoenix_ga.client.guest import Guest
    from phoenix_ga.client.streams import GuestStream
    from phoenix_ga.wire.messages import Request

_PIECE_SIZE: Final = 1024 * 1024
# How slow a disk may be before flushing a file is given up, in bytes a second.
SLOW_DISK: Final = 5_000_000

Progress = Callable[[int, Optional[int]], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Transferred:
    """What was copied.

    size: in bytes. sha256: in hex, of the bytes that were sent, and of eight bytes (a big-endian number)
    for each hole, its length; so of the file itself where it has no holes. verified: both sides have
    computed it. resumed: how many of the bytes an earlier copy had brought.
    """

    size: int
    sha256: str
    verified: bool
    resumed: int = 0


async def get_file(
    guest: Guest, remote: str, local: str, mode: int | None, verify: bool, progress: Progress | None
) -> Transferred:
    """Copy `remote` of the guest to `local`. `Guest.get` tells of arguments and errors."""
    # A device has no holes: what it held would shine through, and a pipe would take zeros for ever.
    source = await guest.file_get(remote, digest=verify, sparse=not is_special(local))
    async with source.stream:
        with _whole_or_not_at_all(local, source.mode & 0o777 if mode is None else mode) as file:
            size, digest = await receive(guest, remote, source, file, local, 0, verify, progress)
    return Transferred(size, digest, verify)


async def receive(
    guest: Guest,
    remote: str,
    source: FileStream,
    file: BinaryIO,
    local: str,
    start: int,
    verify: bool,
    progress: Progress | None,
) -> tuple[int, str]:
    """Write what comes behind the first `start` bytes of `file`; return its size then, and the digest of that."""
    digest = hashlib.sha256()
    size = start
    while piece := await in_time(guest.timeout, source.stream.read_piece(), source.stream.request):
        size += piece.length if isinstance(piece, Skip) else len(piece)
        if size > INT64_MAX:
            raise StreamBroken("the guest sent more than a file can hold", request=source.stream.request)
        digest.update(piece.payload if isinstance(piece, Skip) else piece)
        _append(file, piece, local)
        if progress is not None:
            progress(size, source.size or None)
    _compare(remote, source.stream, size - start, digest.hexdigest() if verify else "")
    return size, digest.hexdigest()


async def relay_file(
    source: Guest, path: str, target: Guest, target_path: str, verify: bool, progress: Progress | None
) -> Transferred:
    """Copy a file between guests. `copy_between` tells of arguments and errors."""
    digest = hashlib.sha256()
    size = 0
    origin = await source.file_get(path, digest=verify, sparse=True)
    async with origin.stream, await target.file_put(target_path, origin.mode & 0o777, digest=verify) as stream:
        while piece := await in_time(source.timeout, origin.stream.read_piece(), origin.stream.request):
            size += await _send_piece(target, stream, piece, digest)
            if progress is not None:
                progress(size, origin.size or None)
        _compare(path, origin.stream, size, digest.hexdigest() if verify else "")
        await finish(target, target_path, stream, size, digest.hexdigest() if verify else "")
    return Transferred(size, digest.hexdigest(), verify)


async def put_file(
    guest: Guest, local: str, remote: str, mode: int | None, verify: bool, progress: Progress | None
) -> Transferred:
    """Copy `local` to `remote` of the guest. `Guest.put` tells of arguments and errors."""
    with open_regular(local) as file:
        status = os.fstat(file.fileno())
        permissions = stat.S_IMODE(status.st_mode) & 0o777 if mode is None else mode
        async with await guest.file_put(remote, permissions, digest=verify) as stream:
            size, digest = await send(guest, remote, stream, file, 0, verify, progress)
    return Transferred(size, digest, verify)


async def send(
    guest: Guest,
    remote: str,
    stream: GuestStream,
    file: BinaryIO,
    start: int,
    verify: bool,
    progress: Progress | None,
) -> tuple[int, str]:
    """Send what is behind the first `start` bytes of `file`; return its size, and the digest of that."""
    digest = hashlib.sha256()
    size = start
    total = os.fstat(file.fileno()).st_size
    for piece in _pieces(file, start):
        size += await _send_piece(guest, stream, piece, digest)
        if progress is not None:
            progress(size, total)
    await finish(guest, remote, stream, size, digest.hexdigest() if verify else "")
    return size, digest.hexdigest()


async def _send_piece(guest: Guest, stream: GuestStream, piece: bytes | Skip, digest: hashlib._Hash) -> int:
    """Send a piece of a file, and take it into the digest; return how much of the file it stands for."""
    if isinstance(piece, Skip):
        digest.update(piece.payload)
        await in_time(guest.timeout, stream.skip(piece.length), stream.request)
        return piece.length
    digest.update(piece)
    await in_time(guest.timeout, stream.write(piece), stream.request)
    return len(piece)


async def finish(guest: Guest, name: str, stream: GuestStream, size: int, digest: str = "") -> None:
    """End a file that is put, and wait until the guest has it on its disk. digest: empty for none."""
    try:
        words: dict[str, Any] = {"size": size, "sha256": digest} if digest else {"size": size}
        await in_time(guest.timeout, stream.end(words), stream.request)
        limit = None if guest.timeout is None else guest.timeout + size / SLOW_DISK
        # Data has no place here, and must not make it last.
        await in_time(limit, stream.read_all(0), stream.request)
    except StreamBroken as error:
        if error.code == errno.EBADMSG:
            raise TransferDamaged(f"{name}: {error.text}", stream.request) from None
        raise
    _compare(name, stream, size, digest)


def _compare(name: str, stream: GuestStream, size: int, digest: str) -> None:
    message = stream.message or {}
    for member, here in (("size", size), ("sha256", digest)):
        there = message.get(member)
        if here != "" and (type(there) is not type(here) or there != here):
            # Anything else may be too large, or nested too deeply, to be shown.
            shown = repr(there)[:80] if isinstance(there, (int, str)) else "nothing of the kind"
            text = f"{name}: {member} is {here} here, and {shown} in the guest: try again"
            raise TransferDamaged(text, stream.request)


async def in_time(limit: float | None, step: Awaitable[Result], request: Request) -> Result:
    """Await a step of a transfer, for `limit` seconds at most. Raises GuestTimeout. request: what began it."""
    try:
        async with timeouts.timeout(limit):
            return await step
    except asyncio.TimeoutError as error:
        if isinstance(error, GuestError):
            raise
        raise GuestTimeout(f"nothing moved for {limit:g} s", request) from None


def _pieces(file: BinaryIO, offset: int) -> Iterator[bytes | Skip]:
    """Yield what is in a file behind `offset`, holes as they are."""
    end = os.fstat(file.fileno()).st_size
    while True:
        hole = _hole_at(file.fileno(), offset, end)
        if hole:
            yield Skip(hole)
            offset += hole
        file.seek(offset)
        data = file.read(_PIECE_SIZE)
        if not data:
            return
        yield data
        offset += len(data)


def _hole_at(fd: int, offset: int, end: int) -> int:
    try:
        data = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        # Beyond the last data there is nothing but a hole, up to the end.
        data = end if error.errno == errno.ENXIO else offset
    return max(0, data - offset)


def _append(file: BinaryIO, piece: bytes | Skip, path: str) -> None:
    """Write a piece behind what is there. path: for errors."""
    try:
        if isinstance(piece, Skip):
            # Told now where the filesystem has no files so large.
            file.seek(file.truncate(file.tell() + piece.length))
        else:
            file.write(piece)
    except OSError as error:
        error.filename = path
        raise


def open_regular(path: str) -> BinaryIO:
    """Open a file to read it. Raises OSError where it is no regular file."""
    # Opening a FIFO waits for a writer, unless asked not to.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory; put_tree copies it with all that is in it", path)
    raise OSError(errno.EINVAL, "is no regular file", path)


def is_special(path: str) -> bool:
    """Tell whether there is something that is no regular file."""
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def _whole_or_not_at_all(path: str, mode: int | None) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` where the body succeeds, and is removed where not.

    What is there and no regular file, such as a device, is written to as it is.
    """
    target = os.path.realpath(path)
    if is_special(target):
        with open(target, "wb") as device:
            yield device
        return
    directory, name = os.path.split(target)
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{name[:64]}.", suffix=".part", dir=directory)
    except OSError as error:
        error.filename = path
        raise
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            os.fchmod(file.fileno(), 0o666 & ~_umask() if mode is None else mode)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
