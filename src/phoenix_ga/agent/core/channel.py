"""A non-blocking byte channel over one file descriptor: a port, a socket or a tty."""

from __future__ import annotations

import os
import select
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

from phoenix_ga.agent.core.loop import READABLE, WRITABLE
from phoenix_ga.agent.linux.anonymous_mmap import map_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Final

    from phoenix_ga.agent.core.loop import Loop
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# The kernel's virtio console driver hands out one page for each element of a readv(2), and takes
# 32 KiB for each element of a writev(2): many elements in one call save most system calls.
_READ_PIECE: Final = 4096
_READ_PIECES: Final = 64
WRITE_PIECE: Final = 32 * 1024
_WRITE_PIECES: Final = 64
# Answers up to this size, in bytes, go out in one piece.
_JOINED_MAX: Final = 128 * 1024
# So much is read from one channel before the others get their turn.
_READS_PER_TURN: Final = 8

# So often is one channel written to in a row, up to 2 MiB each time.
_WRITES_PER_TURN: Final = 2

# All channels are read on one thread, and what is read is copied before the next read.
_buffer: Final = map_memory(_READ_PIECE * _READ_PIECES)


def _pieces(first: int, end: int) -> list[memoryview]:
    return [_buffer[number * _READ_PIECE : (number + 1) * _READ_PIECE] for number in range(first, end)]


_first: Final = _pieces(0, 1)
_next: Final = _pieces(1, 4)
# Made when there is so much to read.
_rest: Final[list[memoryview]] = []


class Channel:
    """Reads when there is something to read, writes when there is room, and never waits.

    received: is called with the bytes that came, valid during the call only. ended: there is no more
    to read, and the peer sends no more or is gone. left: the peer is seen to be gone; what is read after
    that may be of the next one already. drained: the output has gone out. lost: the file descriptor is
    of no use any more, and why. connected: the peer is there, as far as was seen. paused: nothing is read.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        received: Callable[[memoryview], None],
        ended: Callable[[], None],
        left: Callable[[], None],
        drained: Callable[[], None],
        lost: Callable[[OSError], None],
        connected: bool = False,
    ) -> None:
        self._loop = loop
        self.fd = fd
        self._received = received
        self._ended = ended
        self._left = left
        self._drained = drained
        self._lost = lost
        self._output: deque[memoryview] = deque()
        self.output_size = 0
        # How often all that was there has been read.
        self.exhausted = 0
        self._readable = False
        self._pulling = False
        self._scheduled = False
        self._blocked = False
        self._going_on = False
        self.connected = connected
        self.paused = False
        self._closed = False

    def start(self) -> None:
        """Begin to serve the file descriptor."""
        self._loop.watch(self.fd, self._happened, READABLE)

    def close(self) -> None:
        """Close the file descriptor. What was not written is dropped."""
        if not self._closed:
            self._closed = True
            self.drop_output()
            self._loop.unwatch(self.fd)
            os.close(self.fd)

    def send(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write the pieces, now or when there is room."""
        size = sum(map(len, pieces))
        if len(pieces) > 1 and size <= _JOINED_MAX:
            # Each piece is an exit to the hypervisor.
            pieces = (b"".join(pieces),)
        for piece in pieces:
            if piece:
                self._output.append(memoryview(piece))
        self.output_size += size
        # Answers to requests that were read together go out together.
        if not self._pulling:
            self._flush()

    def drop_output(self) -> None:
        """Forget what was not written yet."""
        self._output.clear()
        self.output_size = 0

    def pause(self) -> None:
        """Read no more until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            self._pull_soon()

    def look(self) -> None:
        """See whether the peer is there now: that it came is told only with what it sends."""
        poll = select.poll()
        poll.register(self.fd, 0)
        self.see(not poll.poll(0))

    def see(self, connected: bool) -> None:
        """Take note of whether the peer is there."""
        left = self.connected and not connected
        self.connected = connected
        if left:
            self._left()

    def _happened(self, events: int) -> None:
        connected = not events & (EPOLLHUP | EPOLLERR)
        if connected is not self.connected:
            self.see(connected)
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self._readable = True
            self._pull()
        if events & EPOLLOUT and not self._closed:
            self._flush()

    def _pull_soon(self) -> None:
        if self._readable and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pull)

    def _pull(self) -> None:
        self._scheduled = False
        if self._pulling or self._closed:
            return
        self._pulling = True
        try:
            for _ in range(_READS_PER_TURN):
                if self.paused or self._closed or not self._read():
                    break
                if self._output and not self._blocked:
                    # Whoever asks one thing at a time need not wait until nothing more is found.
                    self._flush()
        finally:
            self._pulling = False
        if not self._closed and (self._output or self._blocked):
            self._flush()
        if not self._closed and not self.paused:
            self._pull_soon()

    def _read(self) -> bool:
        """Read once; tell whether there may be more."""
        try:
            # One piece first: preparing many costs more than all else that a short request takes.
            size = os.readv(self.fd, _first)
            if size == _READ_PIECE:
                size += self._read_more()
        except BlockingIOError:
            self._readable = False
            self.exhausted += 1
            return False
        except OSError as error:
            self._readable = False
            self._lost(error)
            return False
        if size == 0:
            self._readable = False
            self.exhausted += 1
            self._ended()
            return False
        more = self._readable
        self._received(_buffer[:size])
        if not more:
            self.exhausted += 1
        return more

    def _read_more(self) -> int:
        """Read on behind the first piece, until the buffer is full or there is no more; return how much there was.

        To find out now that there is no more disturbs no worker that has what was read.
        """
        size = 0
        try:
            size = os.readv(self.fd, _next)
            if size == _READ_PIECE * len(_next):
                if not _rest:
                    _rest.extend(_pieces(4, _READ_PIECES))
                size += os.readv(self.fd, _rest)
            if _READ_PIECE + size < len(_buffer):
                size += os.readv(self.fd, (_buffer[_READ_PIECE + size :],))
        except BlockingIOError:
            self._readable = False
        except OSError:
            # Whatever it is, the next read tells; what was read already must not be lost.
            pass
        return size

    def _block(self, blocked: bool) -> None:
        """Watch for room only while there is none: else every write would wake the loop once more."""
        if self._blocked != blocked:
            self._blocked = blocked
            self._loop.modify(self.fd, READABLE | WRITABLE if blocked else READABLE)

    def _flush(self) -> None:
        had_output = bool(self._output)
        writes = 0
        while self._output:
            if writes == _WRITES_PER_TURN:
                # Who takes it all that fast may have said something meanwhile: that this is not for it.
                if not self._going_on:
                    self._going_on = True
                    self._loop.call_soon(self._go_on)
                return
            writes += 1
            try:
                size = os.writev(self.fd, self._next_pieces())
            except BlockingIOError:
                self._block(True)
                return
            except (BrokenPipeError, ConnectionResetError):
                # Nobody takes answers any more; what was sent before that can still be read.
                self.drop_output()
                self._block(False)
                self.see(connected=False)
                if not self._closed:
                    # There is room again for whoever waited for it.
                    self._drained()
                return
            except OSError as error:
                self.drop_output()
                self._lost(error)
                return
            self.output_size -= size
            while size:
                first = self._output[0]
                if size < len(first):
                    self._output[0] = first[size:]
                    break
                size -= len(first)
                self._output.popleft()
        self._block(False)
        if had_output:
            self._drained()

    def _go_on(self) -> None:
        self._going_on = False
        if not self._closed:
            self._flush()

    def _next_pieces(self) -> list[memoryview]:
        if len(self._output) == 1 and self.output_size <= WRITE_PIECE:
            return [self._output[0]]
        pieces = []
        for view in self._output:
            for start in range(0, len(view), WRITE_PIECE):
                pieces.append(view[start : start + WRITE_PIECE])
                if len(pieces) == _WRITE_PIECES:
                    return pieces
        return pieces
