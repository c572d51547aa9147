"""Unpacking a tar stream into a directory. No stream can reach outside of it.

Every name is walked from the root of the tree with a file descriptor for each directory, without following
symbolic links. Existing files are never written to: a new file replaces the old one when it is complete and on
the disk.
"""

from __future__ import annotations

import os
import stat
import time
from errno import (
    EDQUOT,
    EINVAL,
    EIO,
    EISDIR,
    ELOOP,
    EMFILE,
    ENFILE,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOTDIR,
    EOPNOTSUPP,
    EROFS,
    ESTALE,
)

from phoenix_ga.trees.headers import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    ArchiveError,
)
from phoenix_ga.trees.members import split_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.trees.members import Member, Source
    from phoenix_ga.trees.report import Report

_SUFFIX: Final = b".phoenix-part"
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IMPLIED_MODE: Final = 0o755
# A new directory is private until it gets its own permissions.
_UNFINISHED_MODE: Final = 0o700
_NO_TMPFILE: Final = (EISDIR, EINVAL, ENOENT, EOPNOTSUPP)
# After these errors, nothing else can succeed.
_HOPELESS: Final = (EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, ESTALE)
# Bytes above which the free space is checked before a file is written; for small files, that costs too much.
_LARGE: Final = 1024 * 1024


class Rules:
    """What to take over from a tree.

    Args:
        owners: numeric owners; needs root.
        set_id: the set-user-ID and set-group-ID bits.
        devices: FIFOs and device nodes.
        judge: called with each member; returns why to skip it, or an empty string.
    """

    __slots__ = ("devices", "judge", "owners", "set_id")

    def __init__(
        self,
        owners: bool,
        set_id: bool,
        devices: bool,
        judge: Callable[[Member], str] = lambda member: "",
    ) -> None:
        self.owners = owners
        self.set_id = set_id
        self.devices = devices
        self.judge = judge


class _Level:
    """An open directory on the current path. member: sets its attributes when it is complete; None if it existed."""

    __slots__ = ("fd", "member", "part")

    def __init__(self, part: bytes, fd: int, member: Member | None) -> None:
        self.part = part
        self.fd = fd
        self.member = member


class Unpacker:
    """Unpacks a tar stream into a directory.

    Args:
        rules: what to take over.
        report: receives what is skipped, and what cannot be created.

    Attributes:
        entries: number of entries created.
        size: bytes in the files among them.
    """

    def __init__(self, source: Source, rules: Rules, report: Report) -> None:
        self._source = source
        self._rules = rules
        self._report = report
        self._levels: list[_Level] = []
        self._root_is_new = False
        self.entries = 0
        self.size = 0

    def unpack(self, path: bytes | str, is_new: bool) -> None:
        """Unpack everything into the directory at `path`.

        Args:
            is_new: the directory was created for this, and takes the attributes of the tree's root.

        Raises:
            ArchiveError: the stream is malformed.
            StreamFailed: the stream cannot be read.
            OSError: nothing more can be written.
        """
        self._root_is_new = is_new
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._levels.append(_Level(b"", fd, None))
        try:
            while (member := self._source.next_member()) is not None:
                self._try_to_make(member)
            self._source.finish()
        finally:
            while self._levels:
                self._leave()

    def _try_to_make(self, member: Member) -> None:
        try:
            reason = self._rules.judge(member)
            if reason:
                self._report.note(member.name, reason)
            elif self._make(member):
                self.entries += 1
        except OSError as error:
            if error.errno in _HOPELESS:
                raise
            self._report.miss(member.name, error)

    def _make(self, member: Member) -> bool:
        """Create one entry; return whether it was created."""
        parts = split_name(member.name)
        if not parts:
            if self._root_is_new:
                self._levels[0].member = member
            return True
        if member.kind == DIRECTORY:
            self._go_to(parts[:-1])
            self._make_directory(parts[-1], member)
            return True
        if member.kind == HARD_LINK:
            return self._make_hard_link(parts, member)
        self._go_to(parts[:-1])
        if member.kind == FILE:
            self._make_file(parts[-1], member)
        elif member.kind == SYMBOLIC_LINK:
            self._make_special(parts[-1], member, lambda name, fd: os.symlink(member.link, name, dir_fd=fd))
        elif not self._rules.devices:
            self._report.note(member.name, "a FIFO or a device, left out")
            return False
        else:
            self._make_special(parts[-1], member, lambda name, fd: _make_node(name, fd, member, self._mode(member)))
        return True

    # Directories

    def _go_to(self, parts: list[bytes]) -> None:
        """Make this directory the last level, creating it if needed."""
        common = 0
        for level, part in zip(self._levels[1:], parts):
            if level.part != part:
                break
            common += 1
        while len(self._levels) > common + 1:
            self._leave()
        for part in parts[common:]:
            try:
                self._enter(part, None)
            except FileNotFoundError:
                os.mkdir(part, _IMPLIED_MODE, dir_fd=self._fd)
                self._enter(part, None)

    def _enter(self, part: bytes, member: Member | None) -> None:
        try:
            fd = os.open(part, _OPEN_DIRECTORY, dir_fd=self._fd)
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise OSError(ENOTDIR, "a symbolic link or a file is in the way of a directory") from None
            raise
        self._levels.append(_Level(part, fd, member))

    def _leave(self) -> None:
        """Close the last level, after setting its attributes."""
        level = self._levels.pop()
        try:
            if level.member is not None:
                self._adjust(level.fd, level.member)
        except OSError as error:
            self._report.miss(level.member.name if level.member is not None else level.part, error)
        finally:
            os.close(level.fd)

    @property
    def _fd(self) -> int:
        return self._levels[-1].fd

    def _make_directory(self, part: bytes, member: Member) -> None:
        try:
            os.mkdir(part, _UNFINISHED_MODE, dir_fd=self._fd)
        except FileExistsError:
            # An existing directory keeps its permissions.
            self._enter(part, None)
        else:
            self._enter(part, member)

    # Everything else

    def _make_file(self, part: bytes, member: Member) -> None:
        directory = self._fd
        if member.size > _LARGE:
            free = os.fstatvfs(directory)
            if member.size > free.f_bavail * free.f_frsize:
                raise OSError(ENOSPC, f"no space for its {member.size} bytes", member.name)
        temporary = _temporary_name()
        fd, named = _open_new(directory, temporary)
        try:
            self._source.copy(lambda piece: _write_all(fd, piece))
            self._adjust(fd, member)
            # The file must not appear before its data is on the disk.
            os.fsync(fd)
            if not named:
                # os.link follows the link only if src_dir_fd is given, which has no other effect here.
                os.link(f"/proc/self/fd/{fd}", temporary, src_dir_fd=directory, dst_dir_fd=directory)
                named = True
            os.rename(temporary, part, src_dir_fd=directory, dst_dir_fd=directory)
            named = False
        finally:
            os.close(fd)
            if named:
                _remove(temporary, directory)
        self.size += member.size

    def _make_special(self, part: bytes, member: Member, make: Callable[[bytes, int], None]) -> None:
        """Create anything but a file or directory, under a temporary name; then rename it."""
        directory = self._fd
        temporary = _temporary_name()
        make(temporary, directory)
        try:
            if self._rules.owners:
                os.chown(temporary, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            times = (time.time_ns(), member.mtime)
            os.utime(temporary, ns=times, dir_fd=directory, follow_symlinks=False)
            os.rename(temporary, part, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            _remove(temporary, directory)
            raise

    def _make_hard_link(self, parts: list[bytes], member: Member) -> bool:
        earlier = split_name(member.link)
        if not earlier:
            raise ArchiveError("a hard link to the root")
        if earlier == parts:
            return True
        # No symbolic link is followed on the way to the other name, either.
        source = self._open_way(earlier[:-1])
        try:
            self._go_to(parts[:-1])
            directory = self._fd
            temporary = _temporary_name()
            try:
                os.link(earlier[-1], temporary, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                # That the other name could not be created was reported already.
                self._report.note(member.name, "another link to a file that is missing")
                return False
            try:
                os.rename(temporary, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                # It still exists if both names were links to one file already.
                _remove(temporary, directory)
        finally:
            os.close(source)
        return True

    def _open_way(self, parts: list[bytes]) -> int:
        fd = os.dup(self._levels[0].fd)
        for part in parts:
            try:
                inner = os.open(part, _OPEN_DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _adjust(self, fd: int, member: Member) -> None:
        """Set owner, permissions and time of an open file."""
        if self._rules.owners:
            os.fchown(fd, member.uid, member.gid)
        # After fchown, which clears the set-ID bits.
        os.fchmod(fd, self._mode(member))
        os.utime(fd, ns=(time.time_ns(), member.mtime))

    def _mode(self, member: Member) -> int:
        return member.mode if self._rules.set_id else member.mode & ~(stat.S_ISUID | stat.S_ISGID)


def _temporary_name() -> bytes:
    # Short enough for every filesystem, whatever its encoding.
    return b".%s%s" % (os.urandom(8).hex().encode(), _SUFFIX)


def _open_new(directory: int, name: bytes) -> tuple[int, bool]:
    """Open a new file for writing; return it, and whether it already has the name."""
    try:
        return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory), False
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory), True


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _make_node(name: bytes, directory: int, member: Member, mode: int) -> None:
    kinds = {FIFO: stat.S_IFIFO, CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
    os.mknod(name, kinds[member.kind] | mode, os.makedev(*member.device), dir_fd=directory)


def _remove(name: bytes, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass
