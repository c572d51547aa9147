"""Packing a directory into a tar stream, even if it changes meanwhile."""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT

from phoenix_ga.trees.headers import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    encode_header,
    padding,
)
from phoenix_ga.trees.members import DEPTH_MAX, END, StreamFailed
from phoenix_ga.trees.xattrs import list_names, read_attributes, text_left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.trees.report import Report

_PIECE_SIZE: Final = 256 * 1024
# Files up to this size are read by one call, and sent together with their header.
_SMALL: Final = 64 * 1024
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
_KINDS: Final = {stat.S_IFIFO: FIFO, stat.S_IFCHR: CHARACTER_DEVICE, stat.S_IFBLK: BLOCK_DEVICE}


class _Level:
    """An open directory.

    prefix: its name in the tree, with a slash. names: its entries that are still to come. others: those that are not
    regular files.
    """

    __slots__ = ("fd", "names", "others", "prefix")

    def __init__(self, fd: int, prefix: bytes) -> None:
        self.fd = fd
        self.prefix = prefix
        self.names: list[bytes] = []
        self.others: set[bytes] = set()
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                self.names.append(name)
                if not entry.is_file(follow_symlinks=False):
                    self.others.add(name)
        self.names.sort(reverse=True)


class Packer:
    """Packs a directory and everything below it; symbolic links are not followed.

    Args:
        write: receives the stream.
        report: receives what is left out, and what cannot be read.
        wanted: returns whether to pack an extended attribute; None: pack none, and report the first usual one.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        report: Report,
        wanted: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._write = write
        self._report = report
        self._wanted = wanted
        self._left_out_told = False
        # The first name of each file with several links, by device and inode.
        self._first_names: dict[tuple[int, int], bytes] = {}
        self._levels: list[_Level] = []

    def pack(self, path: bytes | str) -> None:
        """Pack the directory at `path`. Raises OSError if it cannot be opened, StreamFailed if `write` fails."""
        try:
            self._enter(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), b"")
            while self._levels:
                level = self._levels[-1]
                if level.names:
                    self._entry(level, level.names.pop())
                else:
                    os.close(self._levels.pop().fd)
        finally:
            for level in self._levels:
                os.close(level.fd)
        self._send(END)

    def _enter(self, fd: int, name: bytes) -> None:
        try:
            self._send(_header(name, DIRECTORY, os.fstat(fd), attributes=self._attributes(fd, name)))
            self._levels.append(_Level(fd, name + b"/" if name else b""))
        except BaseException:
            os.close(fd)
            raise

    def _entry(self, level: _Level, part: bytes) -> None:
        name = level.prefix + part
        try:
            if part in level.others or not self._copy_file(level.fd, part, name):
                self._copy(level.fd, part, name)
        except OSError as error:
            if error.errno == ENOENT:
                self._report.note(name, "vanished meanwhile")
            else:
                self._report.miss(name, error)

    def _copy(self, directory: int, part: bytes, name: bytes) -> None:
        """Send anything; a regular file only if it was something else before."""
        status = os.stat(part, dir_fd=directory, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            if not self._copy_file(directory, part, name):
                self._report.miss(name, "it was replaced by another kind of file")
        elif kind == stat.S_IFDIR:
            if len(self._levels) >= DEPTH_MAX:
                self._report.miss(name, f"more than {DEPTH_MAX} directories deep")
                return
            self._enter(os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=directory), name)
        elif kind == stat.S_IFSOCK:
            self._report.note(name, "a socket, left out")
        elif not self._link_to_first(name, status):
            if kind == stat.S_IFLNK:
                link = os.fsencode(os.readlink(part, dir_fd=directory))
                self._send(_header(name, SYMBOLIC_LINK, status, link=link))
            else:
                self._send(_header(name, _KINDS[kind], status))
            self._remember(name, status)

    def _link_to_first(self, name: bytes, status: os.stat_result) -> bool:
        """Send a hard link if the file was sent under another name; return whether it was."""
        first = self._first_names.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
        if first is None:
            return False
        self._send(_header(name, HARD_LINK, status, link=first))
        return True

    def _remember(self, name: bytes, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            self._first_names[status.st_dev, status.st_ino] = name

    def _copy_file(self, directory: int, part: bytes, name: bytes) -> bool:
        """Send a regular file; return False if it is something else by now."""
        try:
            # If a FIFO replaced the file, opening it would block.
            fd = os.open(part, _OPEN | os.O_NONBLOCK, dir_fd=directory)
        except OSError as error:
            if error.errno == ELOOP:
                return False
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return False
            if self._link_to_first(name, status):
                return True
            size = status.st_size
            attributes = self._attributes(fd, name)
            piece = os.read(fd, size) if 0 < size <= _SMALL else b""
            if len(piece) == size > 0:
                header = _header(name, FILE, status, size, attributes=attributes)
                self._send(b"".join((header, piece, padding(size))))
            else:
                self._copy_pieces(fd, name, status, piece, attributes)
            self._remember(name, status)
            return True
        finally:
            os.close(fd)

    def _attributes(self, fd: int, name: bytes) -> dict[bytes, bytes] | None:
        """Return the wanted extended attributes of an open file or directory."""
        try:
            if self._wanted is not None:
                return read_attributes(fd, self._wanted)
            if not self._left_out_told and (names := list_names(fd)):
                self._left_out_told = True
                self._report.note(name or b".", text_left_out(names))
        except OSError as error:
            if self._wanted is not None:
                self._report.miss(name or b".", error)
        return None

    def _copy_pieces(
        self, fd: int, name: bytes, status: os.stat_result, piece: bytes, attributes: dict[bytes, bytes] | None
    ) -> None:
        """Send a file that is large, or whose size is known only at its end, as in procfs. piece: its beginning."""
        piece, ended = _read_first(fd, piece)
        size = len(piece) if ended else max(status.st_size, len(piece))
        self._send(_header(name, FILE, status, size, attributes=attributes))
        done = 0
        while piece:
            self._send(piece)
            done += len(piece)
            piece = self._read_more(fd, name, min(_PIECE_SIZE, size - done))
        if done < size:
            self._report.miss(name, f"became shorter meanwhile; from byte {done} on, the copy holds zeros")
            self._fill(size - done)
        self._send(padding(size))

    def _read_more(self, fd: int, name: bytes, size: int) -> bytes:
        try:
            return os.read(fd, size) if size else b""
        except OSError as error:
            self._report.miss(name, error)
            return b""

    def _fill(self, size: int) -> None:
        while size:
            piece = bytes(min(size, _PIECE_SIZE))
            self._send(piece)
            size -= len(piece)

    def _send(self, data: bytes) -> None:
        try:
            self._write(data)
        except Exception as error:
            # It may be an OSError, but not one of a file.
            raise StreamFailed from error


def _header(
    name: bytes,
    kind: bytes,
    status: os.stat_result,
    size: int = 0,
    link: bytes = b"",
    attributes: dict[bytes, bytes] | None = None,
) -> bytes:
    mode, device = stat.S_IMODE(status.st_mode), (0, 0)
    if kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
        device = os.major(status.st_rdev), os.minor(status.st_rdev)
    uid, gid, mtime = status.st_uid, status.st_gid, status.st_mtime_ns
    return encode_header(name, kind, mode, size, uid, gid, mtime, link, device, attributes)


def _read_first(fd: int, begin: bytes) -> tuple[bytes, bool]:
    """Return the first piece of a file, of which `begin` was read, and whether that is all of it."""
    pieces = bytearray(begin)
    while len(pieces) < _PIECE_SIZE:
        data = os.read(fd, _PIECE_SIZE - len(pieces))
        if not data:
            return bytes(pieces), True
        pieces += data
    return bytes(pieces), False
