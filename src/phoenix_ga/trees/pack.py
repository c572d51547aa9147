"""Packing a directory into a tar stream, even if it changes meanwhile."""

from __future__ import annotations

import os
import stat
from errno import ENOENT

from phoenix_ga.trees.members import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEPTH_MAX,
    DIRECTORY,
    END,
    FIFO,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    Member,
    StreamFailed,
    padding,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.trees.report import Report

_PIECE_SIZE: Final = 256 * 1024
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
_KINDS: Final = {stat.S_IFIFO: FIFO, stat.S_IFCHR: CHARACTER_DEVICE, stat.S_IFBLK: BLOCK_DEVICE}


class _Level:
    """An open directory. prefix: its name in the tree, with a slash. names: its entries that are still to come."""

    __slots__ = ("fd", "names", "prefix")

    def __init__(self, fd: int, prefix: bytes) -> None:
        self.fd = fd
        self.prefix = prefix
        self.names = sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)


class Packer:
    """Packs a directory and everything below it; symbolic links are not followed.

    Args:
        write: receives the stream.
        report: receives what is left out, and what cannot be read.
    """

    def __init__(self, write: Callable[[bytes], object], report: Report) -> None:
        self._write = write
        self._report = report
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
            self._send(_member(name, DIRECTORY, os.fstat(fd)).header())
            self._levels.append(_Level(fd, name + b"/" if name else b""))
        except BaseException:
            os.close(fd)
            raise

    def _entry(self, level: _Level, part: bytes) -> None:
        name = level.prefix + part
        try:
            self._copy(level.fd, part, name)
        except OSError as error:
            if error.errno == ENOENT:
                self._report.note(name, "vanished meanwhile")
            else:
                self._report.miss(name, error)

    def _copy(self, directory: int, part: bytes, name: bytes) -> None:
        status = os.stat(part, dir_fd=directory, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            if len(self._levels) >= DEPTH_MAX:
                self._report.miss(name, f"more than {DEPTH_MAX} directories deep")
                return
            self._enter(os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=directory), name)
            return
        if kind == stat.S_IFSOCK:
            self._report.note(name, "a socket, left out")
            return
        first = self._first_names.get((status.st_dev, status.st_ino))
        if first is not None:
            member = _member(name, HARD_LINK, status)
            member.link = first
            self._send(member.header())
            return
        if kind == stat.S_IFREG:
            self._copy_file(directory, part, name)
        elif kind == stat.S_IFLNK:
            member = _member(name, SYMBOLIC_LINK, status)
            member.link = os.fsencode(os.readlink(part, dir_fd=directory))
            self._send(member.header())
        else:
            member = _member(name, _KINDS[kind], status)
            if kind != stat.S_IFIFO:
                member.device = os.major(status.st_rdev), os.minor(status.st_rdev)
            self._send(member.header())
        if status.st_nlink > 1:
            self._first_names[status.st_dev, status.st_ino] = name

    def _copy_file(self, directory: int, part: bytes, name: bytes) -> None:
        # If a FIFO replaced the file, opening it would block.
        fd = os.open(part, _OPEN | os.O_NONBLOCK, dir_fd=directory)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                self._report.miss(name, "it was replaced by another kind of file")
                return
            member = _member(name, FILE, status)
            # Files of procfs and sysfs have no size; it is known only at their end.
            piece, ended = _read_first(fd)
            member.size = len(piece) if ended else max(status.st_size, len(piece))
            self._send(member.header())
            done = 0
            while piece:
                self._send(piece)
                done += len(piece)
                piece = self._read_more(fd, name, min(_PIECE_SIZE, member.size - done))
            if done < member.size:
                self._report.miss(name, f"became shorter meanwhile; from byte {done} on, the copy holds zeros")
                self._fill(member.size - done)
            self._send(padding(member.size))
        finally:
            os.close(fd)

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


def _member(name: bytes, kind: bytes, status: os.stat_result) -> Member:
    mode = stat.S_IMODE(status.st_mode)
    return Member(name, kind, mode, 0, status.st_uid, status.st_gid, status.st_mtime_ns)


def _read_first(fd: int) -> tuple[bytes, bool]:
    """Return the first piece of a file, and whether that is all of it."""
    pieces = bytearray()
    while len(pieces) < _PIECE_SIZE:
        data = os.read(fd, _PIECE_SIZE - len(pieces))
        if not data:
            return bytes(pieces), True
        pieces += data
    return bytes(pieces), False
