"""The results of `guest-exec`, kept until `guest-exec-status` asks for them.

Everything is for the loop's thread, except `check_limit` and `pids`.
"""

from __future__ import annotations

import os
from errno import EAGAIN
from time import monotonic

from phoenix_ga.agent.core.loop import READABLE, SIGCHLD, WRITABLE
from phoenix_ga.agent.operations.chunked_buffer import ChunkedBuffer
from phoenix_ga.wire.base64_text import encode_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Final

    from phoenix_ga.agent.core.loop import Loop, Timer
    from phoenix_ga.agent.operations.processes import ChildProcess

# Bytes kept of each stream, and of all together; the rest is dropped.
STREAM_MAX: Final = 16 * 1024 * 1024
TOTAL_MAX: Final = 64 * 1024 * 1024
# Maximum number of programs, running and ended.
COUNT_MAX: Final = 1000
# Seconds for which a result is kept: before it was delivered, and after that.
KEPT_TIME: Final = 3600.0
KEPT_AFTER_DELIVERY: Final = 60.0
# Seconds for which the children of a program that has ended may still write to its pipes.
GRACE: Final = 2.0
# Seconds by which forgetting a result may be late, so that several are forgotten in one wake-up.
_EXPIRY_SLACK: Final = 30.0
# How many pipes of programs that have ended are still read, so that their writers do not block.
_LINGERING_MAX: Final = 128

_READS_PER_TURN: Final = 4
_WRITE_PIECE: Final = 64 * 1024
# Shared: all streams are read on one thread, and what is read is copied before the next read.
_buffer: Final = memoryview(bytearray(_WRITE_PIECE))


class Output:
    """What a program writes to one stream.

    Attributes:
        size: bytes kept.
        truncated: more than that was written.
        ended: what comes now is not part of the result.
    """

    def __init__(self, results: ExecResults, result: ExecResult, descriptor: int) -> None:
        self._results = results
        self._result = result
        self._descriptor = descriptor
        self._text: ChunkedBuffer | None = None
        # Up to two bytes, which cannot be encoded in base64 yet.
        self._rest = b""
        self.size = 0
        self.truncated = False
        self.ended = False

    @property
    def is_open(self) -> bool:
        """Whether it is still read."""
        return self._descriptor >= 0

    def start(self) -> None:
        """Start reading."""
        self._results.loop.watch(self._descriptor, self._on_events, READABLE)

    def text(self) -> list[bytes | memoryview]:
        """Return what is kept, in base64."""
        pieces: list[bytes | memoryview] = [] if self._text is None else [*self._text.pieces()]
        return [*pieces, encode_base64(self._rest)]

    def drop(self) -> int:
        """Discard what was kept; return its size."""
        size, self.size = self.size, 0
        self.truncated = self.truncated or size > 0
        self._text = None
        self._rest = b""
        return size

    def read(self) -> None:
        """Read what is available, in several turns if it is much."""
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
                self._result.advance()
                return
            # Stop after truncation, so that the output stays contiguous.
            if not self.ended and not self.truncated:
                self._keep(_buffer[:size])
        self._results.loop.call_soon(self.read)

    def close(self) -> None:
        """Stop reading."""
        if self.is_open:
            self._results.loop.unwatch(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self.ended = True
            self._results.lingering.pop(self, None)

    def _on_events(self, events: int) -> None:
        self.read()

    def _keep(self, data: memoryview) -> None:
        room = self._results.make_room(min(len(data), STREAM_MAX - self.size))
        if room < len(data):
            self.truncated = True
        piece = self._rest + data[:room]
        cut = len(piece) - len(piece) % 3
        if self._text is None:
            self._text = ChunkedBuffer()
        try:
            self._text.append(encode_base64(piece[:cut]))
        except (OSError, MemoryError):
            self.truncated = True
            self._results.size -= self.drop()
            return
        self._rest = piece[cut:]
        self.size += room
        self._results.size += room


class ExecResult:
    """A program that was started, and its result so far.

    Attributes:
        outcome: None while it runs or may still write; then `exitcode` or `signal`, and its value.
        expires: when it is forgotten, on the monotonic clock.
        delivered: a client has received it.
    """

    def __init__(self, results: ExecResults, child: ChildProcess, data: bytes) -> None:
        self._results = results
        self.pid = child.pid
        self.out = Output(results, self, child.stdout)
        self.error = Output(results, self, child.stderr)
        self._stdin = child.stdin
        self._data = memoryview(data)
        self._status: int | None = None
        self._grace: Timer | None = None
        self.outcome: tuple[str, int] | None = None
        self.expires = 0.0
        self.delivered = False

    def start(self) -> None:
        """Start reading and writing, and find out whether it has already ended."""
        loop = self._results.loop
        for output in (self.out, self.error):
            if output.is_open:
                output.start()
        if self._stdin >= 0:
            loop.watch(self._stdin, self._feed, WRITABLE)
        self.check_exit()

    def check_exit(self) -> None:
        """Find out whether the program has ended."""
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
        """Complete the result if no more output can come."""
        if self._status is None or self.outcome is not None:
            return
        if not self.out.is_open and not self.error.is_open:
            self._finish()
        elif self._grace is None:
            self._grace = self._results.loop.call_later(GRACE, self._finish)

    def _finish(self) -> None:
        if self.outcome is not None:
            return
        if self._grace is not None:
            self._grace.cancel()
        for output in (self.out, self.error):
            output.ended = True
            if output.is_open:
                self._results.linger(output)
        assert self._status is not None
        if os.WIFSIGNALED(self._status):
            self.outcome = ("signal", os.WTERMSIG(self._status))
        else:
            self.outcome = ("exitcode", os.WEXITSTATUS(self._status))
        self._results.finished(self)

    def _feed(self, events: int) -> None:
        try:
            while self._data:
                self._data = self._data[os.write(self._stdin, self._data[:_WRITE_PIECE]) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # The program has closed its stdin.
        self._end_input()

    def _end_input(self) -> None:
        if self._stdin >= 0:
            self._results.loop.unwatch(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        self._data = memoryview(b"")


class ExecResults:
    """The results of all clients' programs.

    Attributes:
        size: bytes of output kept.
        lingering: pipes of programs that have ended, which are still read.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.size = 0
        self.lingering: dict[Output, None] = {}
        self._by_pid: dict[int, ExecResult] = {}
        self._timer: Timer | None = None
        # The earliest `expires`, if there is a timer.
        self._expires = 0.0

    @property
    def pids(self) -> Container[int]:
        """The process IDs of known programs."""
        return self._by_pid

    @property
    def in_use(self) -> bool:
        """Whether results are kept."""
        return bool(self._by_pid)

    def check_limit(self) -> None:
        """Raise OSError (EAGAIN) if the maximum number of programs is running."""
        if len(self._by_pid) >= COUNT_MAX and all(known.outcome is None for known in list(self._by_pid.values())):
            raise OSError(EAGAIN, f"{COUNT_MAX} programs are running, which is the limit")

    def add(self, child: ChildProcess, data: bytes) -> None:
        """Take over a program that was just started.

        Args:
            data: for its stdin.
        """
        result = self._by_pid[child.pid] = ExecResult(self, child, data)
        while len(self._by_pid) > COUNT_MAX and (oldest := self._oldest()) is not None:
            self._forget(oldest)
        self.loop.on_signal(SIGCHLD, self._check_exits)
        result.start()

    def find(self, pid: int) -> ExecResult | None:
        """Return the result of a program, or None if it is unknown."""
        return self._by_pid.get(pid)

    def delivered(self, result: ExecResult) -> None:
        """Record that the result was sent. It is kept for a while, because the answer may be lost."""
        if not result.delivered:
            result.delivered = True
            self._expire_after(result, KEPT_AFTER_DELIVERY)

    def finished(self, result: ExecResult) -> None:
        """Record that the result is complete."""
        self._expire_after(result, KEPT_TIME)

    def _expire_after(self, result: ExecResult, seconds: float) -> None:
        result.expires = monotonic() + seconds
        if self._timer is None or self._expires > result.expires:
            self._expires = result.expires
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds + _EXPIRY_SLACK, self._expire)

    def linger(self, output: Output) -> None:
        """Go on reading a pipe, so that its writers do not block; close the oldest if there are too many."""
        self.lingering[output] = None
        if len(self.lingering) > _LINGERING_MAX:
            next(iter(self.lingering)).close()

    def make_room(self, size: int) -> int:
        """Return how many of `size` bytes can be kept; older output is dropped if needed."""
        while self.size + size > TOTAL_MAX:
            oldest = self._oldest(with_output=True)
            if oldest is None:
                return max(0, TOTAL_MAX - self.size)
            if oldest.delivered:
                self._forget(oldest)
            else:
                # Its exit status stays.
                self._drop_output(oldest)
        return size

    def _oldest(self, with_output: bool = False) -> ExecResult | None:
        """Return the result to drop next: one that was delivered if possible, else the oldest."""
        candidates = [
            result
            for result in self._by_pid.values()
            if result.outcome is not None and not (with_output and result.out.size + result.error.size == 0)
        ]
        return min(candidates, key=lambda result: (not result.delivered, result.expires), default=None)

    def _forget(self, result: ExecResult) -> None:
        del self._by_pid[result.pid]
        self._drop_output(result)

    def _drop_output(self, result: ExecResult) -> None:
        self.size -= result.out.drop() + result.error.drop()

    def _check_exits(self) -> None:
        for result in list(self._by_pid.values()):
            result.check_exit()

    def _expire(self) -> None:
        self._timer = None
        now = monotonic()
        done = [result for result in self._by_pid.values() if result.outcome is not None]
        for result in done:
            if result.expires <= now:
                self._forget(result)
        following = min((result.expires for result in done if result.expires > now), default=None)
        if following is not None:
            self._expires = following
            self._timer = self.loop.call_later(following + _EXPIRY_SLACK - now, self._expire)
