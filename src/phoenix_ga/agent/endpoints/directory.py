"""The source of `directory-entries`: examines a directory entry by entry, on a worker, ahead of the client."""

from __future__ import annotations

from time import monotonic

from phoenix_ga.agent.endpoints.file import FileEndpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator
    from typing import Final

    from phoenix_ga.agent.core.throttle import Throttle
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# Lines that a worker makes in one turn: about 100 KiB, or 5 ms of work.
_LINES: Final = 800
# One is sent while the other is made.
_PIECES: Final = 2
# While requests are active, a worker pauses after so many lines.
_LINES_BETWEEN_PAUSES: Final = 50


class DirectorySource(FileEndpoint):
    """Sends lines; those of a small directory are made at once, before the first is asked for.

    Args:
        lines: makes them, one for each entry; may wait for the disk.
        close: called once, on a worker.
    """

    def __init__(self, lines: Iterator[str], close: Callable[[], None], throttle: Throttle) -> None:
        super().__init__()
        self._lines = lines
        self._close = close
        self._throttle = throttle
        self._at_end = False
        self._ready: deque[Piece] = deque()
        self._keep(self._make())

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        stream.ready()

    def pull(self, size: int) -> Piece:
        assert self.stream is not None
        piece: Piece = b""
        if self._ready:
            piece = self._ready.popleft()
            assert isinstance(piece, memoryview)
            if len(piece) > size:
                self._ready.appendleft(piece[size:])
                piece = piece[:size]
        elif self._at_end:
            self.stream.finish({})
        if not (self._at_end or self.working) and len(self._ready) < _PIECES:
            self.work(self._make, self._was_made)
        return piece

    def release(self) -> None:
        self._close()

    def _was_made(self, made: bytes) -> None:
        assert self.stream is not None
        self._keep(made)
        self.stream.ready()

    def _keep(self, made: bytes) -> None:
        self._at_end = not made
        if made:
            self._ready.append(memoryview(made))

    # On a worker

    def _make(self) -> bytes:
        """Return the next lines; none at the end."""
        made: list[str] = []
        started = monotonic()
        for line in self._lines:
            made.append(line)
            if len(made) % _LINES_BETWEEN_PAUSES == 0:
                if len(made) == _LINES or self.over:
                    break
                if self._throttle.requests_active:
                    self._throttle.pause(started)
                    started = monotonic()
        return "".join(made).encode("ascii")
