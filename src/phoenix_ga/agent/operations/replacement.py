"""Replacing a file atomically: the new one appears when it is complete and on the disk, or not at all."""

from __future__ import annotations

import os
import stat
import time
from errno import EACCES, EBUSY, EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, EOPNOTSUPP, EPERM, ESTALE
from fcntl import LOCK_EX, LOCK_NB, flock

from phoenix_ga.agent.operations.files import encode_path, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final, TypeVar

    Made = TypeVar("Made")

_SUFFIX: Final = b".phoenix-part"
# The longest file name on all filesystems, minus what a temporary name adds.
_NAME_MAX: Final = 200
_PART_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
_PART_MAX: Final = 32
# How many files may be written for one path at the same time.
_TEMPORARY_MAX: Final = 100
# Seconds in which the stream of a client that has left closes its file.
_LOCK_TIME: Final = 2.0
_UNSUPPORTED: Final = (EISDIR, EINVAL, ENOENT, EOPNOTSUPP)
# The access control lists of local filesystems and of NFS.
_ACCESS_LISTS: Final = ("system.posix_acl_access", "system.nfs4_acl")
# What belongs to the old content: the privileges of a program, and signatures.
_OF_CONTENT: Final = ("security.capability", "security.ima", "security.evm")
_NO_ATTRIBUTES: Final[Mapping[bytes, bytes]] = {}


class Replacement:
    """A new file that replaces the one at `path` when it is committed.

    With O_TMPFILE, it has no name until then, so a crash leaves nothing behind. On filesystems without it, a
    crash may leave a hidden file, which the next replacement of the same path removes. A symbolic link at
    `path` stays, and its target is replaced.

    The new file takes over the owner, the permissions, the access control list, the SELinux label and the other
    extended attributes of the file that it replaces. Set-ID bits and file capabilities are not taken over: they
    were given to the old content.

    Args:
        mode: permissions; -1 for those of the replaced file, or else `new_mode`.
        uid, gid: owner; -1 for that of the replaced file, or else the agent's own.
        new_mode: permissions if no file is replaced and `mode` is -1.
        part: if not empty, an incomplete file is kept beside `path` as `.NAME.PART.phoenix-part`, so that it can
            be continued. Only a regular file with one link that belongs to the agent, and that nobody else can
            write, is continued; anything else with that name is removed.
        offset: how many bytes of the incomplete file to keep.
        mtime: modification time, in nanoseconds since the epoch; -1 for the present.
        attributes: extended attributes besides those of the replaced file.
        unless_changed: replace only a file whose status changed last at this time, in nanoseconds since the epoch;
            0: replace none; -1: any.

    Raises:
        OSError: from every method. ENODATA if fewer than `offset` bytes were kept; EBUSY if another transfer
            continues the same part; ESTALE if `unless_changed` is not met.
    """

    def __init__(
        self,
        path: str,
        mode: int = -1,
        uid: int = -1,
        gid: int = -1,
        part: str = "",
        offset: int = 0,
        new_mode: int = 0o644,
        mtime: int = -1,
        attributes: Mapping[bytes, bytes] = _NO_ATTRIBUTES,
        unless_changed: int = -1,
    ) -> None:
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
                raise OSError(EINVAL, "not a regular file; use file-write to write to it", path)
        if path.endswith("/") or not name:
            raise OSError(EISDIR, os.strerror(EISDIR), path)
        self._unless_changed = unless_changed
        self._check_unchanged()
        self._mode = mode
        self._new_mode = new_mode
        self._mtime = mtime
        self._attributes = attributes
        self._owner = uid, gid
        if part.strip(_PART_CHARACTERS) or len(part) > _PART_MAX:
            raise OSError(EINVAL, f"a part must be named by at most {_PART_MAX} letters, digits and hyphens")
        self._keep = bool(part)
        # Temporary names contain a tilde, which no part can.
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
        """Give the file a hidden name. make: raises FileExistsError if the name is in use."""
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
        raise OSError(EEXIST, "too many files are being written for this path", self._target)

    def _is_ours(self, fd: int) -> bool:
        """Return whether the name still means this file: before it was locked, it may have been removed as stale."""
        try:
            return os.path.samestat(os.stat(self._temporary, follow_symlinks=False), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _open_part(self, offset: int) -> int:
        fd = _open_own(self._temporary)
        try:
            kept = os.fstat(fd).st_size if fd >= 0 else 0
            if kept < offset:
                raise OSError(ENODATA, f"only {kept} bytes of it were kept, not {offset}")
            if fd < 0:
                fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            _lock(fd, self._target)
            if not self._is_ours(fd):
                raise OSError(ENODATA, "another transfer has just completed this part")
            os.ftruncate(fd, offset)
            os.lseek(fd, offset, os.SEEK_SET)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        self._named = True
        return fd

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += len(data)

    def skip(self, length: int) -> None:
        """Append a hole of `length` zeros."""
        self.size += length
        os.lseek(self._fd, self.size, os.SEEK_SET)

    def commit(self) -> None:
        """Write the file to the disk, then rename it. `abandon` must be called nevertheless."""
        # A hole at the end exists only with this.
        os.ftruncate(self._fd, self.size)
        self._set_attributes()
        os.fsync(self._fd)
        if not self._named:
            flock(self._fd, LOCK_EX)
            # os.link follows the link only if src_dir_fd is given, which has no other effect here.
            self._make_temporary(lambda name: os.link(f"/proc/self/fd/{self._fd}", name, src_dir_fd=self._fd))
        self._check_unchanged()
        os.rename(self._temporary, self._target)
        self._named = False
        sync_directory(self._directory)

    def _check_unchanged(self) -> None:
        if self._unless_changed < 0:
            return
        try:
            changed = os.stat(self._target, follow_symlinks=False).st_ctime_ns
        except FileNotFoundError:
            changed = 0
        if changed != self._unless_changed:
            raise OSError(ESTALE, "the file has changed meanwhile", self._target)

    def _set_attributes(self) -> None:
        """Set owner, permissions and extended attributes, as they are requested or as the replaced file has them."""
        mode = self._mode
        uid, gid = self._owner
        try:
            # Now, because they may have changed during the transfer.
            old = os.stat(self._target, follow_symlinks=False)
        except FileNotFoundError:
            mode = self._new_mode if mode < 0 else mode
        else:
            mode = stat.S_IMODE(old.st_mode) & ~(stat.S_ISUID | stat.S_ISGID) if mode < 0 else mode
            uid = old.st_uid if uid < 0 else uid
            gid = old.st_gid if gid < 0 else gid
            _copy_attributes(self._target, self._fd)
        os.fchown(self._fd, uid, gid)
        if self._attributes:
            from phoenix_ga.trees.xattrs import set_attributes

            # After fchown, which clears capabilities.
            set_attributes(self._fd, self._attributes)
        # After fchown, which clears the set-ID bits, and after the access control list, which contains permissions.
        os.fchmod(self._fd, mode)
        if self._mtime != -1:
            os.utime(self._fd, ns=(time.time_ns(), self._mtime))

    def refuse(self) -> None:
        """Do not keep the incomplete file, because its contents are wrong."""
        self._keep = False

    def abandon(self) -> None:
        """Close the file; remove it if it was not committed, unless it is to be kept. Never raises."""
        try:
            if self._named and not self._keep:
                os.unlink(self._temporary)
        except OSError:
            pass
        finally:
            os.close(self._fd)


def _copy_attributes(old: bytes, new: int) -> None:
    """Copy the extended attributes of a file to an open one. Raises OSError if one that protects it is not copied."""
    names = _attributes(old)
    for name in _attributes(new):
        # The default access control list of the directory is for new files.
        if name in _ACCESS_LISTS and name not in names:
            os.removexattr(new, name)
    for name in names:
        if name in _OF_CONTENT:
            continue
        protects = name in _ACCESS_LISTS or name.startswith("security.")
        try:
            os.setxattr(new, name, os.getxattr(old, name, follow_symlinks=False))
        except OSError as error:
            # Filesystems have attributes of their own that cannot be set, and some are for root only.
            if protects or error.errno not in (EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM):
                raise OSError(error.errno, f"cannot keep the attribute {name}: {error.strerror}", old) from error


def _attributes(file: bytes | int) -> list[str]:
    try:
        return os.listxattr(file)
    except OSError as error:
        if error.errno != EOPNOTSUPP:
            raise
        return []


def _make(name: bytes) -> int:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    flock(fd, LOCK_EX)
    return fd


def _lock(fd: int, target: bytes) -> None:
    """Lock a part, so that no two transfers write to it. Raises OSError (EBUSY)."""
    end = time.monotonic() + _LOCK_TIME
    while True:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(EBUSY, "another transfer is writing this file", target) from None
        time.sleep(0.05)


def _open_own(name: bytes) -> int:
    """Open the incomplete file that this agent kept; remove anything else. Returns -1 if there is none."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1
    except OSError:
        # A symbolic link, a FIFO or the like. What cannot be removed either is an error.
        os.unlink(name)
        return -1
    status = os.fstat(fd)
    is_regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if is_regular and status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return fd
    os.close(fd)
    os.unlink(name)
    return -1


def _remove_stale(name: bytes) -> bool:
    """Remove the file of a writer that died, so that its lock is free. Returns whether it is gone."""
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
