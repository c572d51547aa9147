"""Whole files in both directions, over commands that carry one piece each, several under way."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Generic, Optional, TypeVar

from phoenix_ga.client import deadline
from phoenix_ga.client.errors import GuestError, GuestRefused, ProtocolViolation, TransferDamaged
from phoenix_ga.client.models import FilePiece

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from phoenix_ga.client.guest import Guest

# Larger pieces gain little, and let other answers wait longer behind them.
PIECE_SIZE: Final = 512 * 1024
# One piece is read, one is on its way, one is written, and one is spare.
PIECES_UNDER_WAY: Final = 4
# How slow a disk may be before a digest or a flush is given up, in bytes a second.
_SLOW_DISK: Final = 5_000_000
# How long a failed transfer waits for its handle to be closed, in seconds.
_CLOSE_TIMEOUT: Final = 2.0

Progress = Callable[[int, Optional[int]], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Transferred:
    """What was copied. size: in bytes. md5: in hex. verified: the guest computed the same digest."""

    size: int
    md5: str
    verified: bool


class Pipeline(Generic[Result]):
    """Coroutines under way, begun in order and finished in order. Leaving it cancels the rest."""

    def __init__(self) -> None:
        self._tasks: deque[asyncio.Task[Result]] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, Result]) -> None:
        """Begin one more."""
        self._tasks.append(asyncio.create_task(work))

    async def next(self) -> Result:
        """Return the result of the oldest. Raises what it raised."""
        return await self._tasks.popleft()

    async def __aenter__(self) -> Pipeline[Result]:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def get_file(
    guest: Guest, remote: str, local: str, mode: int | None, verify: bool, progress: Progress | None
) -> Transferred:
    """Copy `remote` of the guest to `local`. `Guest.get` tells of arguments and errors."""
    status = await guest.file_stat(remote)
    total = status.size if status.is_regular else None
    if mode is None and status.is_regular:
        mode = status.permissions & 0o777
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    # A local name that cannot be written should not leave a handle behind in the guest.
    with _whole_or_not_at_all(local, mode) as file:
        async with _opened(guest, remote) as handle, Pipeline[FilePiece]() as pieces:
            while True:
                while len(pieces) < PIECES_UNDER_WAY:
                    pieces.begin(guest.file_read(handle, PIECE_SIZE))
                piece = await pieces.next()
                if len(piece.data) > PIECE_SIZE or not (piece.data or piece.end):
                    raise ProtocolViolation(f"file-read of {PIECE_SIZE} bytes gave {len(piece.data)}")
                file.write(piece.data)
                digest.update(piece.data)
                size += len(piece.data)
                if progress is not None:
                    progress(size, total)
                if piece.end:
                    break
            # The reads behind the end are refused; their answers must not meet the next call.
            while len(pieces):
                with suppress(GuestRefused):
                    await pieces.next()
        # The kernel makes up files in /proc and /sys as they are read: no two reads need be the same.
        made_up = status.is_regular and status.size == 0 and size > 0
        verified = verify and not made_up and (status.is_regular or stat.S_ISLNK(status.mode & 0o177777))
        if verified:
            await _verify(guest, remote, digest.hexdigest(), size)
    return Transferred(size, digest.hexdigest(), verified)


async def put_file(
    guest: Guest, local: str, remote: str, mode: int | None, verify: bool, progress: Progress | None
) -> Transferred:
    """Copy `local` to `remote` of the guest. `Guest.put` tells of arguments and errors."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with _open_regular(local) as file:
        status = os.fstat(file.fileno())
        permissions = stat.S_IMODE(status.st_mode) & 0o777 if mode is None else mode
        async with _opened(guest, remote, "w", permissions & 0o777) as handle, Pipeline[None]() as writes:
            # A file that was there keeps its own permissions; what it gets may be more secret.
            await guest.file_chmod(remote, permissions)
            lengths: deque[int] = deque()
            while True:
                data = file.read(PIECE_SIZE)
                if data:
                    digest.update(data)
                    writes.begin(guest.file_write(handle, data))
                    lengths.append(len(data))
                elif not lengths:
                    break
                if len(writes) >= PIECES_UNDER_WAY or not data:
                    await writes.next()
                    size += lengths.popleft()
                    if progress is not None:
                        progress(size, status.st_size)
            await _patient(guest, size).file_close(handle)
    if permissions & 0o7000:
        # The kernel clears set-user-ID and the like when a file is written.
        await guest.file_chmod(remote, permissions)
    if verify:
        await _verify(guest, remote, digest.hexdigest(), size)
    return Transferred(size, digest.hexdigest(), verify)


def _patient(guest: Guest, size: int) -> Guest:
    """Return the guest with time for work on `size` bytes on its disk."""
    return guest if guest.timeout is None else guest.with_timeout(guest.timeout + size / _SLOW_DISK)


async def _verify(guest: Guest, remote: str, digest: str, size: int) -> None:
    theirs = await _patient(guest, size).get_file_md5sum(remote)
    if theirs.lower() != digest:
        raise TransferDamaged(f"{remote}: the digests differ; the file changed meanwhile, or was damaged: try again")


@asynccontextmanager
async def _opened(guest: Guest, *arguments: Any) -> AsyncIterator[int]:
    """Open a file of the guest; where the body fails, or is cancelled, the handle is closed."""
    opening = asyncio.create_task(guest.file_open(*arguments))
    try:
        # A handle that is on its way when the caller gives up would stay open for ever.
        yield await asyncio.shield(opening)
    except BaseException:
        with suppress(GuestError, asyncio.TimeoutError):
            async with deadline.timeout(_CLOSE_TIMEOUT):
                handle = await opening
            await guest.with_timeout(_CLOSE_TIMEOUT).file_close(handle)
        raise


def _open_regular(path: str) -> BinaryIO:
    # Opening a FIFO waits for a writer, unless asked not to.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory; copy its files one by one", path)
    raise OSError(errno.EINVAL, "is no regular file", path)


@contextmanager
def _whole_or_not_at_all(path: str, mode: int | None) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` where the body succeeds, and is removed where not.

    What is there and no regular file, such as a device, is written to as it is.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
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
