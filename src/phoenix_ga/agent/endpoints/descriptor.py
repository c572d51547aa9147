"""Non-blocking file descriptors as the ends of streams: sockets, pipes and pseudo-terminals."""

from __future__ import annotations

import os

from phoenix_ga.agent.core.loop import READABLE, WRITABLE
from phoenix_ga.agent.endpoints.endpoint import Endpoint
from phoenix_ga.wire.streams import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream
    from phoenix_ga.wire.streams import Skip

WINDOW: Final = 128 * 1024
# The window if the client has many streams.
_SMALL_WINDOW: Final = 32 * 1024


class DescriptorEndpoint(Endpoint):
    """Sends what it reads from one file descriptor, and writes what it receives to another.

    Nothing is read before it can be sent. What cannot be written yet is buffered, up to the window.

    Args:
        source, sink: non-blocking, closed at the end; they may be the same. -1 stands for none.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self.window = WINDOW if sink >= 0 else 0
        self.sends = source >= 0
        self._stream: OpenStream | None = None
        self._source_ended = False
        # Bytes, not frames: a client may send one byte in each.
        self._pending = bytearray()
        self._sink_ended = False
        self._watched: set[int] = set()

    def shrink_window(self) -> None:
        self.window = min(self.window, _SMALL_WINDOW)

    def start(self, stream: OpenStream) -> None:
        self._stream = stream
        self._watched.clear()
        for fd in {self._source, self._sink} - {-1}:
            stream.watch(fd, self._on_events, READABLE | WRITABLE)
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
            # A pseudo-terminal reports EIO if no process has its other side open.
            data = b""
            self.read_failed(error)
        if not data:
            self._source_ended = True
            self.source_ended()
        return data

    def received(self, piece: Data | Skip) -> None:
        assert isinstance(piece, Data)
        data = memoryview(piece.payload)
        written = 0 if self._pending else self._write(data)
        # The payload is in a buffer that will be reused.
        self._pending += data[written:]
        self._on_written(written)

    def ended(self, message: dict[str, Any]) -> None:
        self._sink_ended = True
        self._flush()

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.close_all()

    def detach_stream(self) -> None:
        """Forget the stream, which is over, and keep the file descriptors for the next one."""
        for fd in self._watched:
            assert self._stream is not None
            self._stream.loop.unwatch(fd)
        self._watched.clear()
        self._stream = None

    def close_all(self) -> None:
        """Close the file descriptors."""
        self._pending = bytearray()
        for fd in {self._source, self._sink} - {-1}:
            self.close_descriptor(fd)
        self._source = self._sink = -1

    # For subclasses to override

    def drained(self) -> bool:
        """Return whether no more data can come, after all that was available has been read."""
        return False

    def source_ended(self) -> None:
        """Handle the end of the source."""
        assert self._stream is not None
        self._stream.finish({})

    def read_failed(self, error: OSError) -> None:
        """Handle a read error, which is the end of the source."""

    def write_failed(self, error: OSError) -> None:
        """Handle a write error; what still arrives is dropped."""

    def end_sink(self) -> None:
        """Signal end-of-file to the reader of the sink."""
        if self._sink >= 0 and self._sink != self._source:
            self.close_descriptor(self._sink)
            self._sink = -1

    def consumed(self, size: int) -> None:
        """Report to the stream that `size` bytes no longer take room."""
        assert self._stream is not None
        self._stream.consumed(size)

    def close_descriptor(self, fd: int) -> None:
        """Close a file descriptor."""
        if fd in self._watched:
            assert self._stream is not None
            self._watched.discard(fd)
            self._stream.loop.unwatch(fd)
        os.close(fd)

    def _on_events(self, events: int) -> None:
        assert self._stream is not None
        self._stream.ready()
        self._flush()

    def _flush(self) -> None:
        written = 0
        if self._pending:
            with memoryview(self._pending) as data:
                written = self._write(data)
            # A failed write may have closed the endpoint, and replaced the buffer.
            del self._pending[:written]
        self._on_written(written)

    def _write(self, data: memoryview) -> int:
        """Write until the sink would block; return the size. Without a sink, drop all."""
        written = 0
        while written < len(data):
            if self._sink < 0:
                return len(data)
            try:
                written += os.write(self._sink, data[written:])
            except BlockingIOError:
                break
            except OSError as error:
                self._drop_sink(error)
        return written

    def _on_written(self, size: int) -> None:
        if size:
            self.consumed(size)
        if self._sink_ended and not self._pending:
            self.end_sink()

    def _drop_sink(self, error: OSError) -> None:
        if self._sink != self._source:
            self.close_descriptor(self._sink)
        self._sink = -1
        self.write_failed(error)
