"""A non-blocking byte stream over one file descriptor: a port, a socket or a tty."""

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

# The kernel's virtio console driver returns at most one page for each element of a readv(2), and takes at most
# 32 KiB of each element of a writev(2): many elements in one call save most system calls.
_READ_PIECE: Final = 4096
_READ_PIECES: Final = 64
WRITE_PIECE: Final = 32 * 1024
_WRITE_PIECES: Final = 64
# Answers below this size are joined into one piece, in bytes.
_JOINED_MAX: Final = 128 * 1024
# A channel is read this many times in a row before others get their turn.
_READS_PER_TURN: Final = 8
# A channel is written to this many times in a row, up to 2 MiB each time.
_WRITES_PER_TURN: Final = 2

# Shared by all channels: they are read on one thread, and the bytes are copied before the next read.
_buffer: Final = map_memory(_READ_PIECE * _READ_PIECES)


def _pieces(first: int, end: int) -> list[memoryview]:
    return [_buffer[number * _READ_PIECE : (number + 1) * _READ_PIECE] for number in range(first, end)]


_first: Final = _pieces(0, 1)
_next: Final = _pieces(1, 4)
# All pieces, see `_every`.
_all: Final[list[memoryview]] = []
# After a read of more than this many bytes, the next one begins with all pieces.
_MUCH: Final = 4 * _READ_PIECE


def _every() -> list[memoryview]:
    """Return all pieces, which are made when a read first needs them."""
    if not _all:
        _all.extend(_pieces(0, _READ_PIECES))
    return _all


class Channel:
    """Reads when bytes arrive, writes when there is room, and never waits.

    Attributes:
        output_size: Number of bytes that wait to be written.
        exhausted: How many times the input was read until it was empty.
        connected: Whether the peer is connected, as far as is known.
        paused: Whether reading is paused.
    """

    _received: Callable[[memoryview], None]
    _drained: Callable[[], None]
    _ended: Callable[[], None]
    _left: Callable[[], None]
    _lost: Callable[[OSError], None]

    def __init__(self, loop: Loop, fd: int, connected: bool = False) -> None:
        self._loop = loop
        self.fd = fd
        self._output: deque[memoryview] = deque()
        self.output_size = 0
        self.exhausted = 0
        self._readable = False
        # Whether the last read returned many bytes.
        self._much = False
        self._pulling = False
        self._scheduled = False
        self._blocked = False
        self._continuing = False
        self.connected = connected
        self.paused = False
        self._closed = False

    def start(
        self,
        received: Callable[[memoryview], None],
        drained: Callable[[], None],
        ended: Callable[[], None],
        left: Callable[[], None],
        lost: Callable[[OSError], None],
    ) -> None:
        """Begin to serve the file descriptor.

        Args:
            received: Called with bytes, which are valid during the call only.
            drained: Called when all output has been written.
            ended: Called at the end of the input: the peer sends no more, or has disconnected.
            left: Called when the peer has disconnected. Bytes that are read later may be the next peer's.
            lost: Called with the error that makes the file descriptor unusable.
        """
        self._received, self._drained = received, drained
        self._ended, self._left, self._lost = ended, left, lost
        self._loop.watch(self.fd, self._happened, READABLE)

    def close(self) -> None:
        """Close the file descriptor. Unwritten output is dropped."""
        if not self._closed:
            self._closed = True
            self.drop_output()
            self._loop.unwatch(self.fd)
            os.close(self.fd)

    def send(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write the pieces, now or when there is room."""
        if len(pieces) > 1 and sum(map(len, pieces)) < _JOINED_MAX:
            # Each piece costs an exit to the hypervisor.
            pieces = (b"".join(pieces),)
        for piece in pieces:
            if piece:
                self._output.append(memoryview(piece))
                self.output_size += len(piece)
        # Answers to requests that were read together are written together.
        if not self._pulling:
            self._flush()

    def write(self, pieces: list[memoryview]) -> None:
        """Write pieces of at most WRITE_PIECE bytes each, as many as there is room for now, and the rest later.

        Requires that no output waits. `drained` is called only if something was left for later.
        """
        try:
            size = os.writev(self.fd, pieces)
        except BlockingIOError:
            size = 0
        except OSError:
            # The next write meets it again.
            self.send(pieces)
            return
        for piece in pieces:
            if size < len(piece):
                self._output.append(piece[size:])
                self.output_size += len(piece) - size
            size = max(0, size - len(piece))
        if self._output:
            self._block(True)

    def drop_output(self) -> None:
        """Drop unwritten output."""
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

    def poll_connected(self) -> None:
        """Ask the kernel whether the peer is connected, which it reports only with the first bytes."""
        poll = select.poll()
        poll.register(self.fd, 0)
        self.set_connected(not poll.poll(0))
        if self.connected:
            # The driver's poll may have fetched a buffer in place of its interrupt: then there is no edge.
            self._readable = True
            self._pull_soon()

    def set_connected(self, connected: bool) -> None:
        """Record whether the peer is connected."""
        left = self.connected and not connected
        self.connected = connected
        if left:
            self._left()

    def _happened(self, events: int) -> None:
        connected = not events & (EPOLLHUP | EPOLLERR)
        if connected is not self.connected:
            self.set_connected(connected)
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
                    # A client that waits for each answer gets it before the next read.
                    self._flush()
        finally:
            self._pulling = False
        if not self._closed and (self._output or self._blocked):
            self._flush()
        if not self._closed and not self.paused:
            self._pull_soon()

    def _read(self) -> bool:
        """Read once, and return whether there may be more."""
        try:
            if self._much:
                size = os.readv(self.fd, _every())
            else:
                # One piece first: preparing many costs more than the rest of a short request.
                size = os.readv(self.fd, _first)
                if size == _READ_PIECE:
                    size += self._read_more()
            self._much = size > _MUCH
        except BlockingIOError:
            self._readable = self._much = False
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
        """Read behind the first piece until the buffer is full or nothing is left, and return the size."""
        size = 0
        try:
            size = os.readv(self.fd, _next)
            if size == _READ_PIECE * len(_next):
                size += os.readv(self.fd, _every()[4:])
            if _READ_PIECE + size < len(_buffer):
                size += os.readv(self.fd, (_buffer[_READ_PIECE + size :],))
        except BlockingIOError:
            self._readable = False
        except OSError:
            # The next read reports it; what was read must not be lost.
            pass
        return size

    def _block(self, blocked: bool) -> None:
        """Watch for room only while there is none, or every write would wake the loop again."""
        if self._blocked != blocked:
            self._blocked = blocked
            self._loop.modify(self.fd, READABLE | WRITABLE if blocked else READABLE)

    def _flush(self) -> None:
        had_output = bool(self._output)
        writes = 0
        while self._output:
            if writes == _WRITES_PER_TURN:
                # Read first: a peer that reads this fast may have sent a `sync`, which drops this output.
                if not self._continuing:
                    self._continuing = True
                    self._loop.call_soon(self._continue)
                return
            writes += 1
            try:
                first = self._output[0]
                if self.output_size == len(first) <= WRITE_PIECE:
                    size = os.write(self.fd, first)
                else:
                    size = os.writev(self.fd, self._next_pieces())
            except BlockingIOError:
                self._block(True)
                return
            except (BrokenPipeError, ConnectionResetError):
                # The peer takes no more output, but what it sent before can still be read.
                self.drop_output()
                self._block(False)
                self.set_connected(connected=False)
                if not self._closed:
                    # Streams and calls may wait for room.
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
        if self._blocked:
            self._block(False)
        if had_output:
            self._drained()

    def _continue(self) -> None:
        self._continuing = False
        if not self._closed:
            self._flush()

    def _next_pieces(self) -> list[memoryview]:
        pieces = []
        for view in self._output:
            for start in range(0, len(view), WRITE_PIECE):
                pieces.append(view[start : start + WRITE_PIECE])
                if len(pieces) == _WRITE_PIECES:
                    return pieces
        return pieces
