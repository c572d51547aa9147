"""A file that takes the place of another whole, or not at all."""

from __future__ import annotations

import os
import stat
from errno import EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, EOPNOTSUPP
from fcntl import LOCK_EX, LOCK_NB, flock

from phoenix_ga.agent.operations.files import encode_path, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    Made = TypeVar("Made")

_SUFFIX: Final = b".phoenix-part"
# What a name may be long on all filesystems, less what a temporary one adds.
_NAME_MAX: Final = 200
_PART_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
_PART_MAX: Final = 32
# How many may be on their way to one place at once.
_TEMPORARY_MAX: Final = 100
_UNSUPPORTED: Final = (EISDIR, EINVAL, ENOENT, EOPNOTSUPP)


class Replacement:
    """A new file on its way to `path`. Its name appears when it is whole and on the disk.

    Where the filesystem can (O_TMPFILE), it has no name before, so that nothing is left of it when
    the machine stops. Where it can't, a hidden name may be left: the next one for this place removes it.
    mode: its permissions. uid, gid: its owner, -1 for that of the file in whose place it comes, or the
    agent's own. A symbolic link at `path` stays, and what it names is replaced. Methods raise OSError.

    part: where it is not empty, what was written is kept when the file does not get to its place,
    beside `path` as `.NAME.PART.phoenix-part`, so that it can be continued. offset: how much of what
    was kept is taken over, in bytes; ENODATA where there is less.
    """

    def __init__(self, path: str, mode: int, uid: int, gid: int, part: str = "", offset: int = 0) -> None:
        self._target = os.path.realpath(encode_path(path))
        self._directory, name = os.path.split(self._target)
        try:
            old = os.stat(self._target)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(old.st_mode):
                raise OSError(EISDIR, os.strerror(EISDIR), path)
            if not stat.S_ISREG(old.st_mode):
                raise OSError(EINVAL, "it is no regular file; file-write writes to it as it is", path)
            uid = old.st_uid if uid < 0 else uid
            gid = old.st_gid if gid < 0 else gid
        if path.endswith("/") or not name:
            raise OSError(EISDIR, os.strerror(EISDIR), path)
        self._mode = mode
        self._owner = uid, gid
        if part.strip(_PART_CHARACTERS) or len(part) > _PART_MAX:
            raise OSError(EINVAL, f"the name of a part is at most {_PART_MAX} letters, digits and hyphens")
        self._keep = bool(part)
        # No part can have the name of another one that is not to be kept.
        self._prefix = os.path.join(self._directory, b".%s." % name[:_NAME_MAX])
        self._temporary = self._prefix + part.encode() + _SUFFIX
        self._named = False
        self.size = offset
        self._fd = self._open_part(offset) if part else self._open()

    def _open(self) -> int:
        try:
            return os.open(self._directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        while True:
            fd = self._make_temporary(_make)
            if self._is_ours(fd):
                return fd
            os.close(fd)

    def _make_temporary(self, make: Callable[[bytes], Made]) -> Made:
        """Give the file a hidden name. make: does it, and raises FileExistsError where the name is taken."""
        for number in range(_TEMPORARY_MAX):
            self._temporary = b"%s~%d%s" % (self._prefix, number, _SUFFIX)
            for _ in range(2):
                try:
                    made = make(self._temporary)
                except FileExistsError:
                    if not _remove_stale(self._temporary):
                        break
                else:
                    self._named = True
                    return made
        raise OSError(EEXIST, "too many files are on their way to this place", self._target)

    def _is_ours(self, fd: int) -> bool:
        """Tell whether the name still means this file: before it was locked, it could be taken for stale."""
        try:
            return os.path.samestat(os.stat(self._temporary, follow_symlinks=False), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _open_part(self, offset: int) -> int:
        fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        self._named = True
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise OSError(EINVAL, "what was kept of it is no file of ours", self._temporary)
            if status.st_size < offset:
                raise OSError(ENODATA, f"only {status.st_size} bytes of it were kept, not {offset}")
            os.ftruncate(fd, offset)
            os.lseek(fd, offset, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += len(data)

    def skip(self, length: int) -> None:
        """Append `length` zeros, as a hole."""
        self.size += length
        os.lseek(self._fd, self.size, os.SEEK_SET)

    def commit(self) -> None:
        """Bring the file to the disk, then to its place. `abandon` is to be called all the same."""
        # A hole at the end is there only with its length.
        os.ftruncate(self._fd, self.size)
        os.fchown(self._fd, *self._owner)
        # After the owner: changing it takes away the set-ID bits.
        os.fchmod(self._fd, self._mode)
        os.fsync(self._fd)
        if not self._named:
            flock(self._fd, LOCK_EX)
            # With a directory given, though it is of no use here, os.link follows the link.
            self._make_temporary(lambda name: os.link(f"/proc/self/fd/{self._fd}", name, src_dir_fd=self._fd))
        os.rename(self._temporary, self._target)
        self._named = False
        sync_directory(self._directory)

    def refuse(self) -> None:
        """What was written is wrong: keep nothing of it."""
        self._keep = False

    def abandon(self) -> None:
        """Close the file, and remove it where it did not get to its place, unless it is kept. Never raises."""
        try:
            if self._named and not self._keep:
                os.unlink(self._temporary)
        except OSError:
            pass
        finally:
            os.close(self._fd)


def _make(name: bytes) -> int:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    flock(fd, LOCK_EX)
    return fd


def _remove_stale(name: bytes) -> bool:
    """Remove the file of a writer that died: nobody has it locked. Tell whether it is gone."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        os.unlink(name)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
