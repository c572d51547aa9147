"""A file of which the end is read, and what is appended later, as tail(1) does."""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENOSPC

from phoenix_ga.agent.operations.files import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

READ_SIZE: Final = 128 * 1024
# The lines at the end are searched in this much of the file.
_TAIL_MAX: Final = 64 * 1024 * 1024
_PIECE_SIZE: Final = 64 * 1024


class FollowedFile:
    """A regular file, found again by its name if it is replaced.

    Args:
        lines: how many lines at its end are read first.
        follow: watch the file.

    Attributes:
        watch: file descriptor of inotify, which reports when there may be more; -1 without `follow`.

    Raises:
        OSError: from all methods. EINVAL if it is no regular file; EMFILE, ENOSPC if the kernel has no inotify
            instance or watch left.
    """

    def __init__(self, path: str, lines: int, follow: bool) -> None:
        self._path = encode_path(path)
        self.watch = -1
        self._fd = self._open()
        try:
            if follow:
                from phoenix_ga.agent.linux.inotify import inotify_init

                self.watch = inotify_init()
                self._watch_names()
                self._watch_file()
            os.lseek(self._fd, _start_of_lines(self._fd, lines), os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """Return the next data; none if there is no more now."""
        data = os.read(self._fd, READ_SIZE)
        if data or self.watch < 0:
            return data
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            # It was truncated, and grows again from its beginning.
            os.lseek(self._fd, 0, os.SEEK_SET)
            return os.read(self._fd, READ_SIZE)
        return os.read(self._fd, READ_SIZE) if self._find_again() else b""

    def close(self) -> None:
        """Close the file and the watch."""
        os.close(self._fd)
        if self.watch >= 0:
            os.close(self.watch)

    def _open(self) -> int:
        fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(EINVAL, "not a regular file", self._path)
        return fd

    def _find_again(self) -> bool:
        """Open the file that has the name now, if that is another one; return whether it is."""
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
                return False
            fd = self._open()
        except OSError:
            # It has not been made yet, or is none that can be followed.
            return False
        os.close(self._fd)
        self._fd = fd
        self._watch_names()
        self._watch_file()
        return True

    def _watch_names(self) -> None:
        """Watch the directories in which the name can appear again; with a symbolic link, there are two."""
        from phoenix_ga.agent.linux import inotify

        for path in {os.path.abspath(self._path), os.path.realpath(self._path)}:
            directory = os.path.dirname(path)
            if not inotify.inotify_add_watch(self.watch, directory, inotify.IN_CREATE | inotify.IN_MOVED_TO):
                raise OSError(ENOSPC, "the kernel has no inotify watch left (fs.inotify.max_user_watches)")

    def _watch_file(self) -> None:
        from phoenix_ga.agent.linux import inotify

        # The open file, whatever its name means by now.
        if not inotify.inotify_add_watch(self.watch, b"/proc/self/fd/%d" % self._fd, inotify.IN_MODIFY):
            raise OSError(ENOSPC, "the kernel has no inotify watch left (fs.inotify.max_user_watches)")


def _start_of_lines(fd: int, lines: int) -> int:
    """Return the position from which a file has so many lines; the last one may have no newline."""
    position = size = os.fstat(fd).st_size
    wanted = lines
    while position > 0 and size - position < _TAIL_MAX:
        start = max(position - _PIECE_SIZE, 0)
        piece = os.pread(fd, position - start, start)
        if position == size and piece[-1:] != b"\n":
            # Its last line counts, too.
            wanted -= 1
        found = piece.count(b"\n")
        if wanted < 0:
            return size
        if found > wanted:
            end = len(piece)
            for _ in range(wanted + 1):
                end = piece.rindex(b"\n", 0, end)
            return start + end + 1
        wanted -= found
        position = start
    return position
