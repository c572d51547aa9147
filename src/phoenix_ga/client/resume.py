"""Transfers that continue where an earlier one stopped, if the source has not changed since.

The data of an incomplete transfer is kept beside the target as `.NAME.PART.phoenix-part`, on the host or in the
guest. PART is a digest of the source's name, size and modification time. Kept data is used only if its SHA-256 is
that of the beginning of the source.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from errno import EBUSY
from typing import TYPE_CHECKING, BinaryIO, Final

from phoenix_ga.client.attributes import Taken
from phoenix_ga.client.digests import Digest, Verify, choose_digest
from phoenix_ga.client.errors import CommandError, TransferDamagedError
from phoenix_ga.client.transfer import (
    SLOW_DISK,
    Progress,
    Transferred,
    get_file,
    is_special,
    open_regular,
    receive,
    replace_durably,
    send,
)

if TYPE_CHECKING:
    from phoenix_ga.client.commands import Commands

_PIECE_SIZE: Final = 1024 * 1024
# The longest name of all filesystems, less what is added to it.
_NAME_MAX: Final = 200


async def resume_get(
    guest: Commands,
    remote: str,
    local: str,
    taken: Taken,
    verify: Verify,
    progress: Progress | None,
) -> Transferred:
    """Copy `remote` from the guest to `local`. See `Guest.get`."""
    if is_special(local):
        return await get_file(guest, remote, local, taken, _checked(verify), progress)
    digest = Digest(await choose_digest(_checked(verify), guest))
    async with guest.files.get_stream(remote, window=1, digest=False) as first:
        pass
    target = os.path.realpath(local)
    part = _part_path(target, _part(remote, first.size, first.mtime))
    fd = _open_part(part)
    with os.fdopen(fd, "r+b") as file:
        _lock(fd, part, local)
        kept = os.fstat(fd).st_size
        if kept > first.size or (kept and await _guest_digest(guest, remote, kept) != await _host_digest(file, kept)):
            kept = 0
        file.truncate(kept)
        file.seek(kept)
        async with guest.files.get_stream(
            remote, offset=kept, digest=digest.algorithm, sparse=True, xattrs=bool(taken.xattrs)
        ) as source:
            if (source.size, source.mtime) != (first.size, first.mtime):
                raise TransferDamagedError(f"{remote}: changed during the transfer; try again", source.stream.request)
            try:
                size = await receive(guest, remote, source, file, local, kept, digest, progress)
            except TransferDamagedError:
                # Part of it is wrong, and nobody knows which.
                os.unlink(part)
                raise
        file.flush()
        taken.apply(fd, target, source)
        replace_durably(fd, part, target)
    return Transferred.of(size, digest, taken.left_out(source.xattrs), kept)


async def resume_put(
    guest: Commands,
    local: str,
    remote: str,
    taken: Taken,
    verify: Verify,
    progress: Progress | None,
) -> Transferred:
    """Copy `local` to `remote` in the guest. See `Guest.put`."""
    with open_regular(local) as file:
        status = os.fstat(file.fileno())
        arguments, notes = taken.from_host(file.fileno(), local)
        part = _part(os.path.realpath(local), status.st_size, status.st_mtime_ns)
        there = _part_path(remote, part)
        kept = await _size(guest, there)
        too_long = kept > status.st_size
        if too_long or (kept and await _guest_digest(guest, there, kept) != await _host_digest(file, kept)):
            kept = 0
        digest = Digest(name := await choose_digest(_checked(verify), guest))
        async with guest.files.put_stream(remote, digest=name, part=part, offset=kept, **arguments) as stream:
            size = await send(guest, remote, stream, file, local, kept, digest, progress)
    return Transferred.of(size, digest, notes, kept)


def _checked(verify: Verify) -> Verify:
    """Return the choice of a digest for a transfer that is verified in any case."""
    return "fast" if verify in (False, "none") else verify


def _open_part(part: str) -> int:
    """Open the part that an earlier copy has kept, or make it.

    Another user may have put something there, who could change it later: it is removed.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with suppress(FileExistsError):
            return os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):
            fd = os.open(part, flags)
            if _is_own(os.fstat(fd)):
                return fd
            os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(part)


def _is_own(status: os.stat_result) -> bool:
    is_regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return is_regular and status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _lock(fd: int, part: str, local: str) -> None:
    """Lock an open part, so that no two copies write to it. Raises OSError (EBUSY)."""
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another copy may have completed it before it was locked.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(part, follow_symlinks=False), os.fstat(fd)):
                return
    raise OSError(EBUSY, "another copy to this file is running", local)


def _part(name: str, size: int, mtime: int) -> str:
    return hashlib.sha256(f"{name}\0{size}\0{mtime}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _part_path(path: str, part: str) -> str:
    directory, name = os.path.split(path)
    shortened = os.fsdecode(os.fsencode(name)[:_NAME_MAX])
    return os.path.join(directory, f".{shortened}.{part}.phoenix-part")


async def _size(guest: Commands, path: str) -> int:
    try:
        status = await guest.files.stat(path)
    except CommandError as error:
        if isinstance(error, FileNotFoundError):
            return 0
        raise
    return status.size if status.is_regular else 0


async def _guest_digest(guest: Commands, path: str, length: int) -> str:
    limit = None if guest.timeout is None else guest.timeout + length / SLOW_DISK
    return await guest.with_timeout(limit).files.sha256(path, length)


async def _host_digest(file: BinaryIO, length: int) -> str:
    """Return the SHA-256 of the beginning of a file, computed in a thread: it may be long."""
    # A descriptor of its own: if this is cancelled, the thread goes on after `file` was closed.
    fd = os.dup(file.fileno())
    stop: list[bool] = []

    def work() -> str:
        digest = hashlib.sha256()
        try:
            offset = 0
            while not stop and (data := os.pread(fd, min(length - offset, _PIECE_SIZE), offset)):
                digest.update(data)
                offset += len(data)
        finally:
            os.close(fd)
        return digest.hexdigest()

    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    finally:
        stop.append(True)
