"""The requests of SFTP: what each does to files. Failures are OSErrors, the end of a file or a directory EOFError."""

from __future__ import annotations

import os
import pwd
import stat
from errno import EACCES, EBADF, EEXIST, EMFILE, ENOENT, EOPNOTSUPP, EPERM

from phoenix_ga.agent.helpers import sftp_packets as packets
from phoenix_ga.agent.helpers.sftp_packets import Packet, string, u32, u64
from phoenix_ga.agent.operations.files import INT64_MAX
from phoenix_ga.agent.operations.owners import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final, Optional, TypeVar

    from phoenix_ga.agent.helpers.sftp_packets import Attributes

    # The type of the answer and its content; without one, the answer is that it is done.
    Answer = tuple[int, bytes]
    Work = Callable[[Packet], Optional[Answer]]
    Key = TypeVar("Key", int, bytes)

# Names and versions, as OpenSSH's PROTOCOL has them.
EXTENSIONS: Final = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"hardlink@openssh.com": b"1",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": b"1",
    b"limits@openssh.com": b"1",
    b"expand-path@openssh.com": b"1",
    b"copy-data": b"1",
    b"users-groups-by-id@openssh.com": b"1",
}
# Flags of OPEN.
_READ: Final = 0x1
_WRITE: Final = 0x2
_APPEND: Final = 0x4
_CREATE: Final = 0x8
_TRUNCATE: Final = 0x10
_EXCLUSIVE: Final = 0x20
_FLAGS: Final = {_APPEND: os.O_APPEND, _CREATE: os.O_CREAT, _TRUNCATE: os.O_TRUNC, _EXCLUSIVE: os.O_EXCL}
_PERMISSIONS: Final = 0o7777
_NEW_FILE: Final = 0o666
_NEW_DIRECTORY: Final = 0o777
_COPY_SIZE: Final = 1024 * 1024
# Of an answer to READDIR.
_NAMES_MAX: Final = 100
_STATVFS_READ_ONLY: Final = 1
_STATVFS_NO_SET_ID: Final = 2


class OpenFile:
    """A file descriptor, or the entries of a directory; one of them is None."""

    __slots__ = ("entries", "fd", "path")

    def __init__(self, fd: int | None, entries: Iterator[bytes] | None, path: bytes) -> None:
        self.fd = fd
        self.entries = entries
        self.path = path


class OpenFiles:
    """The open files by their handles. limit: how many there may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._files: dict[bytes, OpenFile] = {}
        self._next = 0

    def add(self, make: Callable[[], OpenFile]) -> bytes:
        """Return the handle for a file that `make` opens. Raises OSError (EMFILE)."""
        if len(self._files) >= self.limit:
            raise OSError(EMFILE, "too many files are open")
        self._next += 1
        handle = b"%d" % self._next
        self._files[handle] = make()
        return handle

    def get(self, handle: bytes) -> OpenFile:
        """Return an open file. Raises OSError (EBADF)."""
        if handle not in self._files:
            raise OSError(EBADF, "no such handle")
        return self._files[handle]

    def fd(self, handle: bytes) -> int:
        """Return the descriptor of an open file. Raises OSError (EBADF), also for a directory."""
        fd = self.get(handle).fd
        if fd is None:
            raise OSError(EBADF, "the handle is that of a directory")
        return fd

    def remove(self, handle: bytes) -> OpenFile:
        """Forget a handle, and return its file. Raises OSError (EBADF)."""
        file = self.get(handle)
        del self._files[handle]
        return file


class Files:
    """Carries out requests. read_only: refuse those that change a file."""

    def __init__(self, files: OpenFiles, read_only: bool) -> None:
        self._files = files
        self._read_only = read_only
        self._names = Names()

    def requests(self) -> dict[int, Work]:
        """Return the function for each type of request, by its number in the standard."""
        return {
            3: self._open,
            4: self._close,
            5: self._read,
            7: lambda request: _attributes(os.lstat(request.path())),
            8: lambda request: _attributes(os.fstat(self._files.fd(request.string()))),
            11: self._open_directory,
            12: self._read_directory,
            16: lambda request: _name(_real_path(request.path())),
            17: lambda request: _attributes(os.stat(request.path())),
            19: lambda request: _name(os.readlink(request.path())),
            **self._changing(
                {
                    6: self._write,
                    9: lambda request: _set(request.path(), request.attributes()),
                    10: lambda request: _set(self._files.fd(request.string()), request.attributes()),
                    13: _remove,
                    14: _make_directory,
                    15: _remove_directory,
                    18: _rename,
                    20: _make_symbolic_link,
                }
            ),
        }

    def extensions(self) -> dict[bytes, Work]:
        """Return the function for each extension, by its name."""
        return {
            b"statvfs@openssh.com": lambda request: _statvfs(os.statvfs(request.path())),
            b"fstatvfs@openssh.com": lambda request: _statvfs(os.fstatvfs(self._files.fd(request.string()))),
            b"fsync@openssh.com": self._sync,
            b"limits@openssh.com": self._limits,
            b"expand-path@openssh.com": lambda request: _name(_real_path(_expand(request.path()))),
            b"users-groups-by-id@openssh.com": self._find_names,
            **self._changing(
                {
                    b"copy-data": self._copy,
                    b"posix-rename@openssh.com": _rename_over,
                    b"hardlink@openssh.com": _make_link,
                    b"lsetstat@openssh.com": lambda request: _set_link(request.path(), request.attributes()),
                }
            ),
        }

    def _changing(self, requests: dict[Key, Work]) -> dict[Key, Work]:
        return {key: _refuse if self._read_only else work for key, work in requests.items()}

    def _open(self, request: Packet) -> Answer:
        path, wanted, attributes = request.path(), request.u32(), request.attributes()
        if self._read_only and wanted & ~_READ:
            _refuse(request)
        both = wanted & (_READ | _WRITE)
        flags = {_WRITE: os.O_WRONLY, _READ | _WRITE: os.O_RDWR}.get(both, os.O_RDONLY)
        for asked, flag in _FLAGS.items():
            flags |= flag if wanted & asked else 0
        mode = _NEW_FILE if attributes.permissions is None else attributes.permissions & _PERMISSIONS

        def make() -> OpenFile:
            # A FIFO without a peer must not stop the session.
            return OpenFile(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode), None, path)

        return packets.HANDLE, string(self._files.add(make))

    def _close(self, request: Packet) -> None:
        file = self._files.remove(request.string())
        if file.fd is not None:
            os.close(file.fd)

    def _read(self, request: Packet) -> Answer:
        fd, offset, size = self._files.fd(request.string()), request.u64(), request.u32()
        data = os.pread(fd, min(size, packets.DATA_MAX), offset)
        if not data and size:
            raise EOFError
        return packets.DATA, string(data)

    def _write(self, request: Packet) -> None:
        fd, offset, data = self._files.fd(request.string()), request.u64(), request.string()
        rest = memoryview(data)
        while rest:
            # With O_APPEND, Linux ignores the offset.
            size = os.pwrite(fd, rest, offset)
            offset += size
            rest = rest[size:]

    def _sync(self, request: Packet) -> None:
        os.fsync(self._files.fd(request.string()))

    def _open_directory(self, request: Packet) -> Answer:
        path = request.path()
        return packets.HANDLE, string(self._files.add(lambda: OpenFile(None, _entries(path), path)))

    def _read_directory(self, request: Packet) -> Answer:
        file = self._files.get(request.string())
        if file.entries is None:
            raise OSError(EBADF, "the handle is not that of a directory")
        found = []
        for name in file.entries:
            try:
                status = os.lstat(os.path.join(file.path, name))
            except OSError:
                # It vanished just now.
                continue
            line = packets.long_name(name, status, self._names.user(status.st_uid), self._names.group(status.st_gid))
            found.append(string(name) + string(line) + packets.attributes(status))
            if len(found) == _NAMES_MAX:
                break
        if not found:
            raise EOFError
        return packets.NAME, u32(len(found)) + b"".join(found)

    def _copy(self, request: Packet) -> None:
        """Copy a part of a file to another one; the length 0 means up to the end."""
        source, at, size = self._files.fd(request.string()), request.u64(), request.u64() or INT64_MAX
        target, to = self._files.fd(request.string()), request.u64()
        while size and (data := os.pread(source, min(size, _COPY_SIZE), at)):
            written = os.pwrite(target, data, to)
            at, to, size = at + written, to + written, size - written

    def _find_names(self, request: Packet) -> Answer:
        uids, gids = request.numbers(), request.numbers()
        users = b"".join(string(os.fsencode(self._names.user(uid))) for uid in uids)
        groups = b"".join(string(os.fsencode(self._names.group(gid))) for gid in gids)
        return packets.EXTENDED_REPLY, string(users) + string(groups)

    def _limits(self, request: Packet) -> Answer:
        numbers = (packets.PACKET_MAX, packets.DATA_MAX, packets.DATA_MAX, self._files.limit)
        return packets.EXTENDED_REPLY, b"".join(map(u64, numbers))


def _refuse(request: Packet) -> None:
    raise OSError(EACCES, "the session is read-only")


def _remove(request: Packet) -> None:
    os.unlink(request.path())


def _remove_directory(request: Packet) -> None:
    os.rmdir(request.path())


def _make_directory(request: Packet) -> None:
    path, attributes = request.path(), request.attributes()
    os.mkdir(path, _NEW_DIRECTORY if attributes.permissions is None else attributes.permissions & _PERMISSIONS)


def _rename(request: Packet) -> None:
    """Rename, but replace nothing: the standard wants it so, and clients prefer posix-rename."""
    source, target = request.path(), request.path()
    if stat.S_ISREG(os.lstat(source).st_mode):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            # Filesystems without links; users who may not link the files of others.
            if error.errno not in (EOPNOTSUPP, EPERM):
                raise
        else:
            os.unlink(source)
            return
    if os.path.lexists(target):
        raise OSError(EEXIST, os.strerror(EEXIST))
    os.rename(source, target)


def _rename_over(request: Packet) -> None:
    os.rename(request.path(), request.path())


def _make_link(request: Packet) -> None:
    os.link(request.path(), request.path(), follow_symlinks=False)


def _make_symbolic_link(request: Packet) -> None:
    # OpenSSH has them in this order, contrary to the standard, and clients follow it.
    os.symlink(request.string(), request.path())


def _set(file: bytes | int, attributes: Attributes) -> None:
    if attributes.size is not None:
        os.truncate(file, attributes.size)
    if attributes.permissions is not None:
        os.chmod(file, attributes.permissions & _PERMISSIONS)
    if attributes.times is not None:
        os.utime(file, attributes.times)
    if attributes.owner is not None:
        os.chown(file, *attributes.owner)


def _set_link(path: bytes, attributes: Attributes) -> None:
    """Set attributes without following a link, which has neither permissions nor a size that can be set."""
    if attributes.size is not None or (attributes.permissions is not None and os.path.islink(path)):
        raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
    if attributes.permissions is not None:
        os.chmod(path, attributes.permissions & _PERMISSIONS)
    if attributes.times is not None:
        os.utime(path, attributes.times, follow_symlinks=False)
    if attributes.owner is not None:
        os.chown(path, *attributes.owner, follow_symlinks=False)


def _attributes(status: os.stat_result) -> Answer:
    return packets.ATTRS, packets.attributes(status)


def _name(name: bytes) -> Answer:
    # A name without attributes.
    return packets.NAME, u32(1) + string(name) + string(name) + u32(0)


def _statvfs(found: os.statvfs_result) -> Answer:
    flags = _STATVFS_READ_ONLY if found.f_flag & os.ST_RDONLY else 0
    flags |= _STATVFS_NO_SET_ID if found.f_flag & os.ST_NOSUID else 0
    numbers = (
        *(found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail),
        *(found.f_files, found.f_ffree, found.f_favail, found.f_fsid, flags, found.f_namemax),
    )
    return packets.EXTENDED_REPLY, b"".join(map(u64, numbers))


def _entries(path: bytes) -> Iterator[bytes]:
    """Return the names in a directory, which is open until the last has been read. Raises OSError."""
    opened = os.scandir(path)

    def names() -> Iterator[bytes]:
        with opened:
            yield from (b".", b"..")
            for entry in opened:
                yield entry.name

    return names()


def _real_path(path: bytes) -> bytes:
    """Return an absolute path without links, of which the last component may be missing. Raises OSError."""
    found = os.path.realpath(path)
    if not os.path.isdir(os.path.dirname(found)):
        raise OSError(ENOENT, os.strerror(ENOENT))
    return found


def _expand(path: bytes) -> bytes:
    """Replace `~` and `~USER` at the beginning of a path. Raises OSError (ENOENT)."""
    if not path.startswith(b"~"):
        return path
    user, _, rest = path[1:].partition(b"/")
    try:
        entry = pwd.getpwnam(os.fsdecode(user)) if user else pwd.getpwuid(os.getuid())
    except (KeyError, UnicodeEncodeError):
        raise OSError(ENOENT, "no such user") from None
    return os.path.join(os.fsencode(entry.pw_dir), rest)
