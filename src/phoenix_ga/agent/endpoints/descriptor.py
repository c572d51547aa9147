"""File descriptors that never block as the ends of streams: sockets, pipes and pseudo-terminals."""

from __future__ import annotations

import os

from phoenix_ga.agent.core.loop import READABLE, WRITABLE
from phoenix_ga.agent.endpoints.endpoint import Endpoint
from phoenix_ga.wire.streams import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream
    from phoenix_ga.wire.streams import Skip
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

WINDOW: Final = 128 * 1024


class DescriptorEndpoint(Endpoint):
    """Sends what it reads from one file descriptor, and writes what it receives to another.

    source, sink: non-blocking, closed at the end; they may be the same, and -1 stands for none.
    Nothing is read before it can be sent, and what can't be written yet is less than the window.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self.window = WINDOW if sink >= 0 else 0
        self.sends = source >= 0
        self._stream: OpenStream | None = None
        self._source_ended = False
        self._pending: deque[memoryview] = deque()
        self._sink_ended = False
        self._watched: set[int] = set()

    def start(self, stream: OpenStream) -> None:
        self._stream = stream
        self._watched.clear()
        for fd in {self._source, self._sink} - {-1}:
            stream.watch(fd, self._happened, READABLE | WRITABLE)
            self._watched.add(fd)

    def pull(self, size: int) -> Piece:
        if self._source_ended:
            return b""
        try:
            data = os.read(self._source, size)
        except BlockingIOError:
            if not self.drained():
                return b""
            data = b""
        except OSError as error:
            # EIO is how a pseudo-terminal says that nobody has its other side open any more.
            data = b""
            self.read_failed(error)
        if not data:
            self._source_ended = True
            self.source_ended()
        return data

    def received(self, piece: Data | Skip) -> None:
        assert isinstance(piece, Data)
        if piece.payload:
            self._pending.append(memoryview(piece.payload))
            self._flush()
            if self._pending:
                # It may be in a buffer that others use next.
                self._pending.append(memoryview(bytes(self._pending.pop())))

    def ended(self, message: dict[str, Any]) -> None:
        self._sink_ended = True
        self._flush()

    def rest(self) -> None:
        """The stream is over, but the file descriptors stay as they are, for the next one."""
        for fd in self._watched:
            assert self._stream is not None
            self._stream.loop.unwatch(fd)
        self._watched.clear()
        self._stream = None

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.release_all()

    def release_all(self) -> None:
        """Close the file descriptors."""
        self._pending.clear()
        for fd in {self._source, self._sink} - {-1}:
            self.release(fd)
        self._source = self._sink = -1

    # What the kinds do differently

    def drained(self) -> bool:
        """All that was there has been read; tell whether no more is to come."""
        return False

    def source_ended(self) -> None:
        """There is no more to read."""
        assert self._stream is not None
        self._stream.finish({})

    def read_failed(self, error: OSError) -> None:
        """Reading failed, which is the end of the source."""

    def write_failed(self, error: OSError) -> None:
        """Nobody takes what is written any more; what still comes is dropped."""

    def end_sink(self) -> None:
        """Tell the reader of the sink that no more comes."""
        if self._sink >= 0 and self._sink != self._source:
            self.release(self._sink)
            self._sink = -1

    def release(self, fd: int) -> None:
        """Close a file descriptor."""
        if fd in self._watched:
            assert self._stream is not None
            self._watched.discard(fd)
            self._stream.loop.unwatch(fd)
        os.close(fd)

    def _happened(self, events: int) -> None:
        assert self._stream is not None
        self._stream.ready()
        self._flush()

    def _flush(self) -> None:
        assert self._stream is not None
        written = 0
        while self._pending:
            data = self._pending[0]
            try:
                size = os.write(self._sink, data) if self._sink >= 0 else len(data)
            except BlockingIOError:
                break
            except OSError as error:
                # This may end the stream, and forget what is pending.
                self._drop_sink(error)
                continue
            written += size
            if size < len(data):
                self._pending[0] = data[size:]
            else:
                self._pending.popleft()
        if written:
            self._stream.consumed(written)
        if self._sink_ended and not self._pending:
            self.end_sink()

    def _drop_sink(self, error: OSError) -> None:
        if self._sink != self._source:
            self.release(self._sink)
        self._sink = -1
        self.write_failed(error)
