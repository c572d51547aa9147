"""Transfers that go on where an earlier one stopped, if nothing has changed since.

What has come of a file is kept beside it as `.NAME.PART.phoenix-part`, on this host or in the guest. PART
is a digest of the source's name, size and time, so a source that changed is another one; and what is kept
counts only where its digest is that of the start of the source.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final

from phoenix_ga.client.errors import GuestRefused, TransferDamaged
from phoenix_ga.client.transfer import (
    SLOW_DISK,
    Progress,
    Transferred,
    get_file,
    is_special,
    open_regular,
    receive,
    send,
)

if TYPE_CHECKING:
    from phoenix_ga.client.guest import Guest

_PIECE_SIZE: Final = 1024 * 1024
# What a name may be long on all filesystems, less what the rest of a part's name takes.
_NAME_MAX: Final = 200


async def resume_get(
    guest: Guest, remote: str, local: str, mode: int | None, progress: Progress | None
) -> Transferred:
    """Copy `remote` of the guest to `local`. `Guest.get` tells of arguments and errors."""
    if is_special(local):
        # Of what goes into a device nothing is kept.
        return await get_file(guest, remote, local, mode, True, progress)
    first = await guest.file_get(remote, window=1, digest=False)
    await first.stream.reset()
    target = os.path.realpath(local)
    part = _part_path(target, _part(remote, first.size, first.mtime))
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    with os.fdopen(fd, "r+b") as file:
        kept = os.fstat(fd).st_size
        if kept > first.size or (kept and await _theirs(guest, remote, kept) != _ours(file, kept)):
            kept = 0
        file.truncate(kept)
        file.seek(kept)
        source = await guest.file_get(remote, offset=kept, sparse=True)
        async with source.stream:
            if (source.size, source.mtime) != (first.size, first.mtime):
                raise TransferDamaged(f"{remote}: it changed meanwhile: try again", source.stream.request)
            try:
                size, digest = await receive(guest, remote, source, file, local, kept, True, progress)
            except TransferDamaged:
                # Nobody knows how much of it is right.
                os.unlink(part)
                raise
        os.fchmod(fd, source.mode & 0o777 if mode is None else mode)
    os.replace(part, target)
    return Transferred(size, digest, True, kept)


async def resume_put(
    guest: Guest, local: str, remote: str, mode: int | None, progress: Progress | None
) -> Transferred:
    """Copy `local` to `remote` of the guest. `Guest.put` tells of arguments and errors."""
    with open_regular(local) as file:
        status = os.fstat(file.fileno())
        permissions = stat.S_IMODE(status.st_mode) & 0o777 if mode is None else mode
        part = _part(os.path.realpath(local), status.st_size, status.st_mtime_ns)
        there = _part_path(remote, part)
        kept = await _size(guest, there)
        if kept > status.st_size or (kept and await _theirs(guest, there, kept) != _ours(file, kept)):
            kept = 0
        async with await guest.file_put(remote, permissions, part=part, offset=kept) as stream:
            size, digest = await send(guest, remote, stream, file, kept, True, progress)
    return Transferred(size, digest, True, kept)


def _part(name: str, size: int, mtime: int) -> str:
    return hashlib.sha256(f"{name}\0{size}\0{mtime}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _part_path(path: str, part: str) -> str:
    directory, name = os.path.split(path)
    shortened = os.fsdecode(os.fsencode(name)[:_NAME_MAX])
    return os.path.join(directory, f".{shortened}.{part}.phoenix-part")


async def _size(guest: Guest, path: str) -> int:
    try:
        status = await guest.file_stat(path)
    except GuestRefused as error:
        if isinstance(error, FileNotFoundError):
            return 0
        raise
    return status.size if status.is_regular else 0


async def _theirs(guest: Guest, path: str, length: int) -> str:
    limit = None if guest.timeout is None else guest.timeout + length / SLOW_DISK
    return await guest.with_timeout(limit).get_file_sha256sum(path, length)


def _ours(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while length and (data := file.read(min(length, _PIECE_SIZE))):
        digest.update(data)
        length -= len(data)
    return digest.hexdigest()
