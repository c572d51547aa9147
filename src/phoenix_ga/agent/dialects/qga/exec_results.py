"""Programs whose output is kept for whoever asks: clients that can't take it as it comes.

All of it is for the loop's own thread, but `refuse_too_many` and `numbers`.
"""

from __future__ import annotations

import os
from errno import EAGAIN
from time import monotonic

from phoenix_ga.agent.core.loop import READABLE, SIGCHLD, WRITABLE
from phoenix_ga.agent.operations.chunked_buffer import Blocks
from phoenix_ga.wire.messages import encode_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Final

    from phoenix_ga.agent.core.loop import Loop, Timer
    from phoenix_ga.agent.operations.processes import ChildProcess

# What is kept of each stream, and of all together, in bytes; what comes after that is dropped.
STREAM_MAX: Final = 16 * 1024 * 1024
TOTAL_MAX: Final = 64 * 1024 * 1024
# How many programs are known at once.
COUNT_MAX: Final = 1000
# How long a result is kept that nobody has asked for, and one that was delivered, in seconds.
KEPT_TIME: Final = 3600.0
KEPT_AFTER_DELIVERY: Final = 60.0
# How long others that a program started may go on writing to its streams when it has ended, in seconds.
GRACE: Final = 2.0
# How many streams of programs that have ended are still read, so that who writes there is not stopped.
_LINGERING_MAX: Final = 128

_READS_PER_TURN: Final = 4
_WRITE_PIECE: Final = 64 * 1024
# All streams are read on one thread, and what is read is copied before the next read.
_buffer: Final = memoryview(bytearray(_WRITE_PIECE))


class Output:
    """What a program writes to one stream.

    size: what is kept, in bytes. truncated: more was written than that. ended: what comes now is no
    part of the result.
    """

    def __init__(self, captures: Captures, capture: Capture, descriptor: int) -> None:
        self._captures = captures
        self._capture = capture
        self._descriptor = descriptor
        self._text: Blocks | None = None
        # Less than three bytes, of which the text can't be told yet.
        self._rest = b""
        self.size = 0
        self.truncated = False
        self.ended = False

    @property
    def is_open(self) -> bool:
        """Whether somebody may write to it yet."""
        return self._descriptor >= 0

    def start(self) -> None:
        """Begin to read."""
        self._captures.loop.watch(self._descriptor, self._happened, READABLE)

    def text(self) -> list[bytes | memoryview]:
        """Return all that is kept, in base64."""
        pieces: list[bytes | memoryview] = [] if self._text is None else [*self._text.pieces()]
        return [*pieces, encode_base64(self._rest)]

    def drop(self) -> int:
        """Forget what was kept, and return how much that was."""
        size, self.size = self.size, 0
        self.truncated = self.truncated or size > 0
        self._text = None
        self._rest = b""
        return size

    def read(self) -> None:
        """Read what is there; the rest later, where that is much."""
        for _ in range(_READS_PER_TURN):
            if not self.is_open:
                return
            try:
                size = os.readv(self._descriptor, [_buffer])
            except BlockingIOError:
                return
            except OSError:
                size = 0
            if size == 0:
                self.close()
                self._capture.advance()
                return
            # What follows a gap would be taken for something else.
            if not self.ended and not self.truncated:
                self._keep(_buffer[:size])
        self._captures.loop.call_soon(self.read)

    def close(self) -> None:
        """Read no more."""
        if self.is_open:
            self._captures.loop.unwatch(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self.ended = True
            self._captures.lingering.pop(self, None)

    def _happened(self, events: int) -> None:
        self.read()

    def _keep(self, data: memoryview) -> None:
        room = self._captures.make_room(min(len(data), STREAM_MAX - self.size))
        if room < len(data):
            self.truncated = True
        piece = self._rest + data[:room]
        cut = len(piece) - len(piece) % 3
        if self._text is None:
            self._text = Blocks()
        try:
            self._text.append(encode_base64(piece[:cut]))
        except (OSError, MemoryError):
            self.truncated = True
            self._captures.size -= self.drop()
            return
        self._rest = piece[cut:]
        self.size += room
        self._captures.size += room


class Capture:
    """A program that was started, and what is known of it.

    outcome: None while it runs or may still write; then `exitcode` or `signal`, and which.
    """

    def __init__(self, captures: Captures, spawned: ChildProcess, data: bytes) -> None:
        self._captures = captures
        self.pid = spawned.pid
        self.out = Output(captures, self, spawned.stdout)
        self.error = Output(captures, self, spawned.stderr)
        self._stdin = spawned.stdin
        self._data = memoryview(data)
        self._status: int | None = None
        self._grace: Timer | None = None
        self.outcome: tuple[str, int] | None = None
        # When it is forgotten, unless that has to be earlier.
        self.expires = 0.0
        self.delivered = False

    def start(self) -> None:
        """Begin to read and write, and see whether it has ended already."""
        loop = self._captures.loop
        for output in (self.out, self.error):
            if output.is_open:
                output.start()
        if self._stdin >= 0:
            loop.watch(self._stdin, self._feed, WRITABLE)
        self.look()

    def look(self) -> None:
        """See whether the program has ended."""
        if self._status is not None:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._status = status
            self._end_input()
            for output in (self.out, self.error):
                output.read()
            self.advance()

    def advance(self) -> None:
        """See whether there is nothing more to come."""
        if self._status is None or self.outcome is not None:
            return
        if not self.out.is_open and not self.error.is_open:
            self._finish()
        elif self._grace is None:
            self._grace = self._captures.loop.call_later(GRACE, self._finish)

    def _finish(self) -> None:
        if self.outcome is not None:
            return
        if self._grace is not None:
            self._grace.cancel()
        for output in (self.out, self.error):
            output.ended = True
            if output.is_open:
                self._captures.linger(output)
        assert self._status is not None
        if os.WIFSIGNALED(self._status):
            self.outcome = ("signal", os.WTERMSIG(self._status))
        else:
            self.outcome = ("exitcode", os.WEXITSTATUS(self._status))
        self._captures.finished(self)

    def _feed(self, events: int) -> None:
        try:
            while self._data:
                self._data = self._data[os.write(self._stdin, self._data[:_WRITE_PIECE]) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # It does not want more.
        self._end_input()

    def _end_input(self) -> None:
        if self._stdin >= 0:
            self._captures.loop.unwatch(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        self._data = memoryview(b"")


class Captures:
    """The programs of all clients.

    size: how much output is kept, in bytes. lingering: the streams that are read though nobody asks.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.size = 0
        self.lingering: dict[Output, None] = {}
        self._by_pid: dict[int, Capture] = {}
        self._timer: Timer | None = None

    @property
    def numbers(self) -> Container[int]:
        """The process IDs that mean a program already."""
        return self._by_pid

    def refuse_too_many(self) -> None:
        """Raise OSError (EAGAIN) where no more programs can be known."""
        if len(self._by_pid) >= COUNT_MAX and all(known.outcome is None for known in list(self._by_pid.values())):
            raise OSError(EAGAIN, f"{COUNT_MAX} programs are running, which is the limit")

    def add(self, spawned: ChildProcess, data: bytes) -> None:
        """Look after a program from now on. data: for its stdin."""
        capture = self._by_pid[spawned.pid] = Capture(self, spawned, data)
        while len(self._by_pid) > COUNT_MAX and (oldest := self._oldest()) is not None:
            self._forget(oldest)
        self.loop.on_signal(SIGCHLD, self._look)
        capture.start()

    def find(self, pid: int) -> Capture | None:
        """Return what is known of a program, or None where nothing is."""
        return self._by_pid.get(pid)

    def delivered(self, capture: Capture) -> None:
        """The result was asked for; keep it for a while, for the answer may be lost."""
        if not capture.delivered:
            capture.delivered = True
            capture.expires = monotonic() + KEPT_AFTER_DELIVERY

    def finished(self, capture: Capture) -> None:
        """The result is complete."""
        capture.expires = monotonic() + KEPT_TIME
        if self._timer is None:
            self._timer = self.loop.call_later(KEPT_AFTER_DELIVERY, self._expire)

    def linger(self, output: Output) -> None:
        """Read on, for who writes there is not to be stopped; but not for too many of them."""
        self.lingering[output] = None
        if len(self.lingering) > _LINGERING_MAX:
            next(iter(self.lingering)).close()

    def make_room(self, size: int) -> int:
        """Return how much of `size` bytes can be kept, where need be instead of what is kept longest."""
        while self.size + size > TOTAL_MAX:
            oldest = self._oldest(with_output=True)
            if oldest is None:
                return max(0, TOTAL_MAX - self.size)
            if oldest.delivered:
                self._forget(oldest)
            else:
                # How it ended can still be told.
                self._drop_output(oldest)
        return size

    def _oldest(self, with_output: bool = False) -> Capture | None:
        """Return the result that can best be done without: one that was delivered, if there is one."""
        candidates = [
            capture
            for capture in self._by_pid.values()
            if capture.outcome is not None and not (with_output and capture.out.size + capture.error.size == 0)
        ]
        return min(candidates, key=lambda capture: (not capture.delivered, capture.expires), default=None)

    def _forget(self, capture: Capture) -> None:
        del self._by_pid[capture.pid]
        self._drop_output(capture)

    def _drop_output(self, capture: Capture) -> None:
        self.size -= capture.out.drop() + capture.error.drop()

    def _look(self) -> None:
        for capture in list(self._by_pid.values()):
            capture.look()

    def _expire(self) -> None:
        self._timer = None
        now = monotonic()
        done = [capture for capture in self._by_pid.values() if capture.outcome is not None]
        expired = [capture for capture in done if capture.expires <= now]
        for capture in expired:
            self._forget(capture)
        if len(done) > len(expired):
            self._timer = self.loop.call_later(KEPT_AFTER_DELIVERY, self._expire)
