"""The sink of `file-put`: a worker writes to a new file, which replaces the old one when it is complete."""

from __future__ import annotations

from errno import EBADMSG

from phoenix_ga.agent.endpoints.file import FileEndpoint
from phoenix_ga.agent.linux.anonymous_mmap import map_memory
from phoenix_ga.agent.operations.digest import transfer_digest
from phoenix_ga.wire.streams import Data, Skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any, Final, Union

    from phoenix_ga.agent.core.throttle import Throttle
    from phoenix_ga.agent.operations.replacement import Replacement

    # A hole, or the number of data bytes that come next.
    Job = Union[Skip, int]
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

_WINDOW: Final = 1024 * 1024
# Bytes written at a time, while as many again are received; a piece never crosses the end of the ring.
_PIECE_SIZE: Final = 512 * 1024


class FileSink(FileEndpoint):
    """Writes to a file that replaces the old one when its size and digest were verified.

    Received data is copied into a ring buffer as long as the window, so there is always room. A worker writes
    until the ring is empty.
    """

    window = _WINDOW
    skips = True

    def __init__(self, replacement: Replacement, digest: bool | str, throttle: Throttle) -> None:
        super().__init__()
        self._replacement = replacement
        self._digest = transfer_digest(digest, throttle)
        self._ring: memoryview | None = None
        # Positions in the ring at which to store the next byte, and from which to write the next one.
        self._head = self._tail = 0
        self._jobs: deque[Job] = deque()
        self._message: dict[str, Any] | None = None
        self._finishing = False

    def received(self, piece: Data | Skip) -> None:
        if isinstance(piece, Skip):
            self._jobs.append(piece)
        else:
            self._keep(memoryview(piece.payload))
        self._write_on()

    def ended(self, message: dict[str, Any]) -> None:
        self._message = message
        self._write_on()

    def _keep(self, data: memoryview) -> None:
        if self._ring is None:
            self._ring = map_memory(_WINDOW)
        while data:
            size = min(len(data), _PIECE_SIZE - self._head % _PIECE_SIZE)
            self._ring[self._head : self._head + size] = data[:size]
            data = data[size:]
            self._head = (self._head + size) % _WINDOW
            self._jobs.append(size)

    def _write_on(self) -> None:
        if self.working or self._finishing:
            return
        if self._jobs:
            self.work(self._write_ahead, self._was_written)
        elif self._message is not None:
            self._finishing = True
            self.work(self._finish, self._was_finished)

    def _consumed(self, size: int) -> None:
        assert self.stream is not None
        if not self.over:
            self.stream.consumed(size)

    def _was_written(self, size: int) -> None:
        self._consumed(size)
        self._write_on()

    def _was_finished(self, message: dict[str, Any]) -> None:
        assert self.stream is not None
        self.stream.finish(message)

    def release(self) -> None:
        self._ring = None
        self._replacement.abandon()

    # On a worker

    def _write_ahead(self) -> int:
        """Write until the ring is empty; return the size of the last write."""
        assert self.stream is not None
        size = self._write()
        while self._jobs and not self.over:
            self.stream.loop.call_from_thread(self._consumed, size)
            size = self._write()
        return size

    def _write(self) -> int:
        """Write up to the next hole or the end of a piece; return the size."""
        job = self._jobs.popleft()
        if isinstance(job, Skip):
            self._replacement.skip(job.length)
            if self._digest is not None:
                self._digest.update(job.payload)
            return 0
        size = job
        while self._jobs and not isinstance(more := self._jobs[0], Skip) and (self._tail + size) % _PIECE_SIZE:
            size += more
            self._jobs.popleft()
        assert self._ring is not None
        data = self._ring[self._tail : self._tail + size]
        self._tail = (self._tail + size) % _WINDOW
        self._replacement.write(data)
        if self._digest is not None:
            self._digest.update(data)
        return size

    def _finish(self) -> dict[str, Any]:
        assert self._message is not None
        message: dict[str, Any] = {"size": self._replacement.size}
        if self._digest is not None:
            message[self._digest.algorithm] = self._digest.hexdigest()
        for name, value in message.items():
            if self._message.get(name, value) != value:
                self._replacement.refuse()
                text = f"{name} is {value} here, but {self._message[name]} was sent; the file stays as it was"
                raise OSError(EBADMSG, text)
        self._replacement.commit()
        return message
