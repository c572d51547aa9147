"""The agent's log: lines on standard error or in a file.

Writing does not block, unless standard error is a file on a slow disk. The `log-file` has its own thread.
"""

from __future__ import annotations

import os
import select
import time
from _queue import SimpleQueue
from _thread import allocate_lock

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Priorities of syslog(3).
ERR: Final = 3
WARNING: Final = 4
NOTICE: Final = 5
INFO: Final = 6
DEBUG: Final = 7

_STDERR: Final = 2
# A writable pipe takes this many bytes without blocking (PIPE_BUF).
_LINE_MAX: Final = 4096
# Maximum number of lines that wait for the end of a freeze, or for a slow disk.
_HELD_MAX: Final = 1000


class Log:
    """Writes lines with a priority.

    They begin with the time, or with the priority if journald reads them (sd-daemon(3)).

    Args:
        path: A file to append to; empty: standard error.
        debug: Write DEBUG lines.
    """

    def __init__(self, path: str = "", debug: bool = False) -> None:
        self.path = path
        self.debug = debug
        self._held: list[bytes] | None = None
        self._guard = allocate_lock()
        self._lost = 0
        self._prefixed = not path and _journald_reads_stderr()
        self._lines: SimpleQueue[bytes | None] | None = None
        self._written = allocate_lock()
        # Number of lines that the thread has not written.
        self._unwritten = 0
        if path:
            self._lines = SimpleQueue()

    def start(self) -> None:
        """Start the thread that writes the file, if there is one. Raises OSError if it cannot be opened."""
        if self._lines is not None:
            if self._held is None:
                # Fail here, not in the thread. While the log is held, the file may be frozen.
                os.close(self._open())
            self._written.acquire()
            start_thread(self._write_file, "the log", self._lines)

    def write(self, priority: int, text: str) -> None:
        """Write a line; a DEBUG line only if `debug` is set."""
        if priority == DEBUG and not self.debug:
            return
        start = self._prefix(priority)
        line = _line(start, text)
        with self._guard:
            if self._held is not None:
                if len(self._held) < _HELD_MAX:
                    self._held.append(line)
                else:
                    self._lost += 1
                return
            lost, self._lost = self._lost, 0
        if lost and not self._put(f"{start}{lost} log lines were lost\n".encode()):
            self._lose(lost)
        if not self._put(line):
            self._lose(1)

    def write_alone(self, priority: int, text: str) -> None:
        """Write a line in a forked process, which has no other thread and may have inherited held locks."""
        line = _line(self._prefix(priority), text)
        try:
            if not self.path:
                self._put(line)
                return
            fd = self._open()
            os.write(fd, line)
            os.close(fd)
        except OSError:
            pass

    def hold(self) -> None:
        """Keep lines in memory until `release`, because a freeze may block writing."""
        with self._guard:
            if self._held is None:
                self._held = []

    def release(self) -> None:
        """Write the lines that were kept."""
        with self._guard:
            held, self._held = self._held, None
        for line in held or ():
            if not self._put(line):
                self._lose(1)

    def close(self) -> None:
        """Write the lines that were kept, and wait at most a second until they are in the file."""
        self.release()
        if self._lines is not None:
            self._lines.put(None)
            self._written.acquire(True, 1.0)

    def reopen(self) -> None:
        """Open the file again, because it may have been renamed or removed."""
        if self._lines is not None:
            self._lines.put(b"")

    @property
    def idle_threads(self) -> int | None:
        """The number of its threads, or None if there are lines that are not written."""
        with self._guard:
            if self._held is not None or self._lost or self._unwritten:
                return None
        return 0 if self._lines is None else 1

    def _prefix(self, priority: int) -> str:
        return f"<{priority}>" if self._prefixed else time.strftime("%Y-%m-%dT%H:%M:%S%z ")

    def _lose(self, count: int) -> None:
        with self._guard:
            self._lost += count

    def _put(self, line: bytes) -> bool:
        """Write a line if that does not block; return whether it was written."""
        if self._lines is not None:
            if self._lines.qsize() >= _HELD_MAX:
                return False
            with self._guard:
                self._unwritten += 1
            self._lines.put(line)
            return True
        # If the reader of standard error is stuck, lose the line. Threads cannot share a poll object.
        room = select.poll()
        room.register(_STDERR, select.POLLOUT)
        if not room.poll(0):
            return False
        try:
            os.write(_STDERR, line)
        except OSError:
            return False
        return True

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)

    def _write_file(self, lines: SimpleQueue[bytes | None]) -> None:
        fd = -1
        while (line := lines.get()) is not None:
            try:
                if fd < 0:
                    fd = self._open()
                if line:
                    os.write(fd, line)
                else:
                    os.close(fd)
                    fd = -1
            except OSError:
                self._lose(1)
            if line:
                with self._guard:
                    self._unwritten -= 1
        self._written.release()


def _journald_reads_stderr() -> bool:
    # Children inherit the variable, see systemd.exec(5), even if they have another standard error.
    journal = os.environ.get("JOURNAL_STREAM")
    try:
        status = os.fstat(_STDERR)
    except OSError:
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"


def _line(start: str, text: str) -> bytes:
    return (start + printable(text[:_LINE_MAX])).encode("utf-8", "backslashreplace")[: _LINE_MAX - 1] + b"\n"


def printable(text: str) -> str:
    """Return `text` on one line, with control characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
