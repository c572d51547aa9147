"""Unpacking a tar stream into a directory. No stream can reach outside of it.

Every name is walked from the root of the tree with a file descriptor for each directory, without following
symbolic links. Existing files are never written to: a new file replaces the old one when it is complete and on
the disk.
"""

from __future__ import annotations

import os
import stat
import time
from errno import EDQUOT, EIO, ELOOP, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOTDIR, EROFS, ESTALE

from phoenix_ga.trees.batch import STEPS_MAX, Batch, NewFile, remove, sync_each, temporary_name
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
from phoenix_ga.trees.members import StreamFailed, split_name
from phoenix_ga.trees.report import shown
from phoenix_ga.trees.xattrs import check_size, drop_inherited, is_known, is_usual, set_attributes, text_refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    from phoenix_ga.trees.members import Member, Source
    from phoenix_ga.trees.report import Report

    Opened = TypeVar("Opened")

_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IMPLIED_MODE: Final = 0o755
# A new directory is private until it gets its own permissions.
_UNFINISHED_MODE: Final = 0o700
_NO_DESCRIPTORS: Final = (EMFILE, ENFILE)
# After these errors, nothing else can succeed.
_HOPELESS: Final = (EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, ESTALE)
# Bytes above which the free space is checked before a file is written; for small files, that costs too much.
_LARGE: Final = 1024 * 1024


# What a judge returns for a symbolic link that it wants to see again when everything else is in place.
LATER: Final = "later"
LEADS_OUT: Final = "a link that leads out of the directory"
# Such links, and the parts of the target of one: each costs some system calls for each part.
_LATER_MAX: Final = 1000
_LATER_PARTS_MAX: Final = 64


class Rules:
    """What to take over from a tree.

    Args:
        owners: numeric owners; needs root.
        set_id: the set-user-ID and set-group-ID bits.
        devices: FIFOs and device nodes.
        xattrs: which extended attributes; None for none.
        judge: called with each member; returns why to skip it, an empty string, or LATER. Of a link that was made to
            wait, it is called again with True if its target is below the tree and all directories on the way exist.
    """

    __slots__ = ("devices", "judge", "owners", "set_id", "xattrs")

    def __init__(
        self,
        owners: bool,
        set_id: bool,
        devices: bool,
        judge: Callable[[Member, bool], str] = lambda member, is_safe: "",
        xattrs: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.owners = owners
        self.set_id = set_id
        self.devices = devices
        self.judge = judge
        self.xattrs = xattrs


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
        sync, steps_max: those of Batch.
    """

    def __init__(
        self,
        source: Source,
        rules: Rules,
        report: Report,
        sync: Callable[[list[NewFile]], None] = sync_each,
        steps_max: int = STEPS_MAX,
    ) -> None:
        self._source = source
        self._rules = rules
        self._report = report
        self._levels: list[_Level] = []
        # The name of the last level; None if it is unknown.
        self._where: bytes | None = b""
        self._batch = Batch(self._attempt, sync, steps_max)
        self._root_is_new = False
        self._waiting: list[Member] = []
        self._refusal_told = False

    def unpack(self, path: bytes | str, is_new: bool) -> None:
        """Unpack everything into the directory at `path`.

        Args:
            is_new: the directory was created for this, and takes the attributes of the tree's root.

        Raises:
            ArchiveError: the stream is malformed. What was complete before is there.
            StreamFailed: the stream cannot be read. What was complete before is there.
            OSError: nothing more can be written.
        """
        self._root_is_new = is_new
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._levels.append(_Level(b"", fd, None))
        try:
            try:
                while (member := self._source.next_member()) is not None:
                    self._try_to_make(member)
                self._source.finish()
            except (ArchiveError, StreamFailed):
                self._batch.commit()
                raise
            self._batch.commit()
            for member in self._waiting:
                self._try_waiting(member)
        finally:
            self._batch.abandon()
            while self._levels:
                self._leave()

    def _attempt(self, name: bytes, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            if error.errno in _HOPELESS:
                raise
            self._report.miss(name, error)

    def _try_to_make(self, member: Member) -> None:
        self._attempt(member.name, lambda: self._make(member))

    def _make(self, member: Member) -> None:
        reason = self._rules.judge(member, False)
        if reason == LATER and len(self._waiting) < _LATER_MAX:
            self._waiting.append(member)
            return
        if reason == LATER:
            reason = f"{LEADS_OUT}, to {shown(member.link)}"
        if reason:
            self._report.note(member.name, reason)
            return
        if not member.name:
            if self._root_is_new:
                self._levels[0].member = member
            return
        directory, _, part = member.name.rpartition(b"/")
        kind = member.kind
        if kind == FILE:
            self._go_to(directory)
            self._make_file(part, member)
            return
        if kind == HARD_LINK:
            self._make_hard_link(directory, part, member)
            return
        if kind not in (DIRECTORY, SYMBOLIC_LINK) and not self._rules.devices:
            self._report.note(member.name, "a FIFO or a device, left out")
            return
        self._go_to(directory)
        if member.name in self._batch:
            # They take their places in the order of the stream.
            self._batch.commit()
        if kind == DIRECTORY:
            self._make_directory(part, member)
        elif kind == SYMBOLIC_LINK:
            self._make_special(part, member, lambda name, fd: os.symlink(member.link, name, dir_fd=fd))
        else:
            self._make_special(part, member, lambda name, fd: _make_node(name, fd, member, self._mode(member)))

    def _try_waiting(self, member: Member) -> None:
        self._attempt(member.name, lambda: self._make_waiting(member))

    def _make_waiting(self, member: Member) -> None:
        """Create a symbolic link whose target has `..` in the middle, if it stays in the tree."""
        is_safe = self._stays_inside(member)
        reason = self._rules.judge(member, True) if is_safe else f"{LEADS_OUT}, to {shown(member.link)}"
        if reason:
            self._report.note(member.name, reason)
            return
        directory, _, part = member.name.rpartition(b"/")
        self._go_to(directory)
        status = os.fstat(self._fd)
        self._make_special(part, member, lambda name, fd: os.symlink(member.link, name, dir_fd=fd))
        os.utime(self._fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _stays_inside(self, member: Member) -> bool:
        """Return whether `..` in the target of a link only leaves real directories of the tree.

        A directory cannot be replaced by a symbolic link later, unlike a link or a name that is missing.
        """
        way = split_name(member.name)[:-1]
        parts = [part for part in member.link.split(b"/") if part not in (b"", b".")]
        if len(parts) > _LATER_PARTS_MAX:
            return False
        for position, part in enumerate(parts):
            if part != b"..":
                way.append(part)
            elif way:
                way.pop()
            else:
                return False
            if position + 1 < len(parts):
                try:
                    os.close(self._open_way(way))
                except OSError:
                    return False
        return True

    # Directories

    def _go_to(self, name: bytes) -> None:
        """Make this directory the last level, creating it if needed."""
        if name == self._where:
            return
        parts = name.split(b"/") if name else []
        common = 0
        for level, part in zip(self._levels[1:], parts):
            if level.part != part:
                break
            common += 1
        self._where = None
        while len(self._levels) > common + 1:
            self._leave()
        for depth in range(common, len(parts)):
            if b"/".join(parts[: depth + 1]) in self._batch:
                # A file is on its way to this name.
                self._batch.commit()
            try:
                self._enter(parts[depth], None)
            except FileNotFoundError:
                os.mkdir(parts[depth], _IMPLIED_MODE, dir_fd=self._fd)
                self._enter(parts[depth], None)
        self._where = name

    def _enter(self, part: bytes, member: Member | None) -> None:
        try:
            fd = self._with_descriptors(lambda: os.open(part, _OPEN_DIRECTORY, dir_fd=self._fd))
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise OSError(ENOTDIR, "a symbolic link or a file is in the way of a directory") from None
            raise
        self._levels.append(_Level(part, fd, member))

    def _leave(self) -> None:
        """Close the last level, after setting its attributes once everything is in it."""
        level = self._levels.pop()

        def finish() -> None:
            if level.member is not None:
                try:
                    self._adjust(level.fd, level.member)
                except OSError as error:
                    self._report.miss(level.member.name, error)

        self._batch.then(level.part, finish, level.fd)

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
        self._where = member.name

    def _with_descriptors(self, open_one: Callable[[], Opened]) -> Opened:
        """Call `open_one`, a second time after closing the files of the batch if there are too many."""
        try:
            return open_one()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS or not self._batch:
                raise
        self._batch.commit()
        return open_one()

    # Everything else

    def _make_file(self, part: bytes, member: Member) -> None:
        directory = self._fd
        if member.size > _LARGE:
            free = os.fstatvfs(directory)
            if member.size > free.f_bavail * free.f_frsize:
                raise OSError(ENOSPC, f"no space for its {member.size} bytes", member.name)
        file = self._with_descriptors(lambda: NewFile(directory, part, member.name))
        try:
            self._source.copy(file.write)
            self._adjust(file.fd, member)
        except BaseException:
            file.abandon()
            raise
        self._batch.add(file, member.size)

    def _make_special(self, part: bytes, member: Member, make: Callable[[bytes, int], None]) -> None:
        """Create anything but a file or directory, under a temporary name; then rename it."""
        directory = self._fd
        temporary = temporary_name()
        make(temporary, directory)
        try:
            if self._rules.owners:
                os.chown(temporary, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            times = (time.time_ns(), member.mtime)
            os.utime(temporary, ns=times, dir_fd=directory, follow_symlinks=False)
            os.rename(temporary, part, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            remove(temporary, directory)
            raise

    def _make_hard_link(self, directory: bytes, part: bytes, member: Member) -> None:
        earlier = split_name(member.link)
        if not earlier:
            raise ArchiveError("a hard link to the root")
        if member.link == member.name:
            return
        # No symbolic link is followed on the way to the other name, either.
        source = self._with_descriptors(lambda: self._open_way(earlier[:-1]))
        try:
            self._go_to(directory)
        except BaseException:
            os.close(source)
            raise
        target = self._fd
        # The other name may be that of a file which has none yet.
        self._batch.then(member.name, lambda: self._link(source, earlier[-1], target, part, member), source)

    def _link(self, source: int, earlier: bytes, directory: int, part: bytes, member: Member) -> None:
        temporary = temporary_name()
        try:
            os.link(earlier, temporary, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            # That the other name could not be created was reported already.
            self._report.note(member.name, "another link to a file that is missing")
            return
        try:
            os.rename(temporary, part, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            # It still exists if both names were links to one file already.
            remove(temporary, directory)

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
        """Set owner, extended attributes, permissions and time of an open file."""
        if self._rules.owners:
            os.fchown(fd, member.uid, member.gid)
        if self._rules.xattrs is not None:
            self._set_attributes(fd, member, self._rules.xattrs)
        # After fchown, which clears the set-ID bits.
        os.fchmod(fd, self._mode(member))
        os.utime(fd, ns=(time.time_ns(), member.mtime))

    def _set_attributes(self, fd: int, member: Member, wanted: Callable[[bytes], bool]) -> None:
        known = {name: value for name, value in member.attributes.items() if is_known(name)}
        allowed = {name: value for name, value in known.items() if wanted(name)}
        refused = sorted(name for name in known if name not in allowed and is_usual(name))
        if refused and not self._refusal_told:
            self._refusal_told = True
            self._report.note(member.name or b".", text_refused(refused))
        try:
            check_size(allowed)
            drop_inherited(fd)
            set_attributes(fd, allowed)
        except OSError as error:
            # Not even ENOSPC is hopeless: some filesystems have little room for attributes.
            self._report.miss(member.name or b".", error)

    def _mode(self, member: Member) -> int:
        return member.mode if self._rules.set_id else member.mode & ~(stat.S_ISUID | stat.S_ISGID)


def _make_node(name: bytes, directory: int, member: Member, mode: int) -> None:
    kinds = {FIFO: stat.S_IFIFO, CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
    os.mknod(name, kinds[member.kind] | mode, os.makedev(*member.device), dir_fd=directory)
