"""Files and directories.

Paths are text, in any locale; bytes that are not UTF-8 are lone surrogates (PEP 383). All functions raise OSError
with the errno of the system call that failed.
"""

from __future__ import annotations

import os
import select
import stat
from errno import E2BIG, EAGAIN, EBADF, EEXIST, EINVAL, EISDIR, ENXIO, ETXTBSY

from phoenix_ga.agent.operations.handles import OpenFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from phoenix_ga.agent.core.throttle import Throttle

# Seconds that a write to a FIFO or a device waits for a reader.
_WRITE_TIMEOUT: Final = 30.0
INT64_MAX: Final = 2**63 - 1
# For missing parent directories.
_PARENT_MODE: Final = 0o755
_DIGEST_PIECE: Final = 256 * 1024
# Of what `numbers` returns.
NUMBERS: Final = 13
# Of the name of a link, in the hidden name that it has first.
_LINK_NAME_MAX: Final = 200


def encode_path(path: str) -> bytes:
    """Return the bytes of a path. Raises UnicodeEncodeError on a surrogate that is not a byte."""
    return path.encode("utf-8", "surrogateescape")


def decode_path(path: bytes) -> str:
    """Return the text of a path."""
    return path.decode("utf-8", "surrogateescape")


def open_to_read(path: str) -> OpenFile:
    """Open a file for reading, without waiting for the writer of a FIFO."""
    name = encode_path(path)
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return _opened(fd, path, writable=False, made_in=b"")


def open_to_write(path: str, mode: int, replace_running: bool) -> OpenFile:
    """Create a file with permissions `mode`, or empty it, and open it for writing.

    replace_running: remove a running program (ETXTBSY) and create a new file. Raises OSError (ENXIO) if a FIFO has no
    reader.
    """
    name = encode_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    made_in = os.path.dirname(name) or b"."
    try:
        try:
            fd = os.open(name, flags | os.O_EXCL, mode)
        except FileExistsError:
            fd = os.open(name, flags | os.O_TRUNC, mode)
            made_in = b""
    except OSError as error:
        if error.errno == ENXIO:
            raise OSError(ENXIO, "the FIFO has no reader, or the device does not exist", path) from None
        if error.errno != ETXTBSY or not replace_running:
            raise
        # A symbolic link to the program stays.
        name = os.path.realpath(name)
        made_in = os.path.dirname(name)
        os.unlink(name)
        fd = os.open(name, flags | os.O_EXCL, mode)
    return _opened(fd, path, writable=True, made_in=made_in)


def _opened(fd: int, path: str, writable: bool, made_in: bytes) -> OpenFile:
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(EISDIR, os.strerror(EISDIR), path)
        return OpenFile(fd, path, writable, stat.S_ISREG(mode), made_in)
    except BaseException:
        os.close(fd)
        raise


def read(file: OpenFile, count: int) -> bytes:
    """Return at most `count` bytes; none at the end of the file.

    Raises OSError (EAGAIN) if a FIFO or a device has no data now.
    """
    if file.writable:
        raise OSError(EBADF, "the file is open for writing", file.path)
    return os.read(file.fd, count)


def write(file: OpenFile, data: bytes) -> None:
    """Write all of `data`. A FIFO or a device that takes nothing for 30 seconds is an error (EAGAIN)."""
    if not file.writable:
        raise OSError(EBADF, "the file is open for reading", file.path)
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file.fd, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(file.fd, select.POLLOUT)
            if not poll.poll(_WRITE_TIMEOUT * 1000):
                taken = len(data) - len(rest)
                raise OSError(EAGAIN, f"nobody reads the data; {taken} bytes were written", file.path) from None


def close(file: OpenFile) -> None:
    """Close a file, after writing its data to the disk.

    Raises OSError if that failed; the file is closed nevertheless.
    """
    try:
        if file.writable and file.regular:
            os.fsync(file.fd)
            if file.made_in:
                sync_directory(file.made_in)
    finally:
        os.close(file.fd)


def sync_directory(path: bytes) -> None:
    """Write the entries of a directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some filesystems do not support it.
        if error.errno != EINVAL:
            raise
    finally:
        os.close(fd)


def digest(path: str, algorithm: str, throttle: Throttle, length: int = INT64_MAX) -> str:
    """Return the digest, in hex, of the first `length` bytes of a regular file or a block device.

    algorithm: `md5` or `sha256`. Raises OSError (EINVAL) on a FIFO, a socket or a character device,
    which may have no end.
    """
    # Loads the kernel's hash sockets only if needed.
    from phoenix_ga.agent.operations.digest import ThrottledDigest

    name = encode_path(path)
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(EISDIR, os.strerror(EISDIR), path)
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise OSError(EINVAL, "not a regular file or a block device", path)
        computed = ThrottledDigest(algorithm, throttle)
        piece = bytearray(_DIGEST_PIECE)
        while length and (size := os.readv(fd, [memoryview(piece)[:length]])):
            computed.update(memoryview(piece)[:size])
            length -= size
        return computed.hexdigest()
    finally:
        os.close(fd)


def change_mode(path: str, permissions: int) -> None:
    """Set the permissions, following symbolic links."""
    os.chmod(encode_path(path), permissions)


def status(path: str, follow: bool = False) -> os.stat_result:
    """Return the result of lstat(2), or of stat(2) to follow symbolic links."""
    return os.stat(encode_path(path), follow_symlinks=follow)


def link_target(path: str) -> str:
    """Return the target of a symbolic link; empty if it cannot be read."""
    try:
        return decode_path(os.readlink(encode_path(path)))
    except OSError:
        return ""


def base_name(path: str) -> str:
    """Return the last part of a path, without trailing slashes; `/` for the root."""
    return path.rstrip("/").rpartition("/")[2] or path[:1]


def make_directory(path: str, permissions: int, parents: bool) -> None:
    """Create a directory.

    Args:
        parents: Create missing parents too, and accept an existing directory.

    Raises:
        OSError: EEXIST if the path exists; with `parents`, if it is not a directory.
    """
    name = encode_path(path)
    if not parents:
        os.mkdir(name, permissions)
        _set_special_bits(name, permissions)
        return
    try:
        _make_one(name, permissions)
        return
    except FileNotFoundError:
        if not name:
            raise
    above = name.rstrip(b"/").split(b"/")[:-1]
    for depth in range(1, len(above) + 1):
        parent = b"/".join(above[:depth])
        if parent:
            _make_one(parent, _PARENT_MODE)
    _make_one(name, permissions)


def _make_one(name: bytes, mode: int) -> None:
    try:
        os.mkdir(name, mode)
    except FileExistsError:
        if not os.path.isdir(name):
            raise OSError(EEXIST, "it exists, and is not a directory", name) from None
        return
    _set_special_bits(name, mode)


def _set_special_bits(name: bytes, mode: int) -> None:
    if mode & 0o7000:
        # mkdir(2) ignores the set-ID bits.
        os.chmod(name, mode)


def list_directory(path: str, count: int, limit: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and lstat(2) of at most `count` entries (0 or less: all), in the filesystem's order.

    Raises OSError (E2BIG) if there are more than `limit`.
    """
    with os.scandir(encode_path(path)) as entries:
        for found, entry in enumerate(examine(entries)):
            if 0 < count == found:
                return
            if found == limit:
                raise OSError(E2BIG, f"more than {limit} entries, which is the limit; ask for some with 'n'", path)
            yield entry


def examine(entries: Iterable[os.DirEntry[bytes]]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and lstat(2) of each entry.

    If one cannot be examined, only its inode and type are known; the rest is 0.
    """
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError:
            # Such as the FUSE mount of a user, to which not even root has access.
            status = _unknown_status(entry)
        yield decode_path(entry.name), status


def numbers(status: os.stat_result) -> tuple[int, ...]:
    """Return the numbers of a status, in the order of `directory-entries`."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        status.st_size,
        status.st_blksize,
        status.st_blocks,
        status.st_atime_ns,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _unknown_status(entry: os.DirEntry[bytes]) -> os.stat_result:
    if entry.is_dir(follow_symlinks=False):
        mode = stat.S_IFDIR
    elif entry.is_symlink():
        mode = stat.S_IFLNK
    else:
        mode = stat.S_IFREG if entry.is_file(follow_symlinks=False) else 0
    times = {f"st_{name}time_ns": 0 for name in "amc"}
    rest = {"st_blksize": 0, "st_blocks": 0, "st_rdev": 0}
    return os.stat_result((mode, entry.inode(), *[0] * 8), {**times, **rest})


def rename(path: str, target: str) -> None:
    """Rename a file or directory, replacing `target` as rename(2) does.

    Raises:
        OSError: EXDEV if the paths are on different filesystems; EISDIR, ENOTDIR, ENOTEMPTY if `target` cannot
            be replaced.
    """
    os.rename(encode_path(path), encode_path(target))


def truncate(path: str, size: int) -> None:
    """Set the size of an existing file in bytes, following symbolic links; what is added is a hole."""
    os.truncate(encode_path(path), size)


def link(path: str, target: str, symbolic: bool, replace: bool) -> None:
    """Make a link at `path`: to the file `target`, or a symbolic one with the text `target`.

    Args:
        replace: Replace an existing file in one step.

    Raises:
        OSError: EEXIST if the path exists; EISDIR if it is a directory; EXDEV if the paths of a hard link are on
            different filesystems.
    """
    name = encode_path(path)
    if not replace:
        _link(name, target, symbolic)
        return
    directory, last = os.path.split(name)
    hidden = b".%s.%s.phoenix-part" % (last[:_LINK_NAME_MAX], os.urandom(8).hex().encode())
    temporary = os.path.join(directory, hidden)
    _link(temporary, target, symbolic)
    try:
        os.rename(temporary, name)
    finally:
        # rename(2) does nothing if both names are links to one file.
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _link(name: bytes, target: str, symbolic: bool) -> None:
    if symbolic:
        os.symlink(encode_path(target), name)
    else:
        os.link(encode_path(target), name, follow_symlinks=False)


def touch(path: str, modified: int, create: bool) -> None:
    """Set the access and modification time of a file, following symbolic links.

    Args:
        modified: In nanoseconds since the epoch; -1: now.
        create: Create a missing file, empty, with permissions 0644.
    """
    name = encode_path(path)
    if create:
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except FileExistsError:
            pass
    if modified == -1:
        os.utime(name)
    else:
        os.utime(name, ns=(modified, modified))
