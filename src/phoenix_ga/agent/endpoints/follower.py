"""The source of `file-tail`: the end of a file, and what is appended later, without polling."""

from __future__ import annotations

import os

from phoenix_ga.agent.core.loop import READABLE
from phoenix_ga.agent.endpoints.file import FileEndpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.operations.followed_file import FollowedFile
    from phoenix_ga.agent.protocol.streams import OpenStream

_EVENTS_SIZE: Final = 16 * 1024
_READS_PER_TURN: Final = 8


class Follower(FileEndpoint):
    """Sends a file up to its end, and goes on when the kernel reports a change.

    file: read on a worker only, after the start.
    """

    def __init__(self, file: FollowedFile) -> None:
        super().__init__()
        self._file = file
        self._watch = file.watch
        self._ready = memoryview(b"")
        # There may be something to read.
        self._changed = True

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        if self._watch >= 0:
            stream.watch(self._watch, self._on_events, READABLE)
        stream.ready()

    def pull(self, size: int) -> Piece:
        piece, self._ready = self._ready[:size], self._ready[size:]
        if not self._ready and self._changed and not self.working:
            self._changed = False
            self.work(self._file.read, self._was_read)
        return piece

    def closed(self, loop: Loop, workers: Workers) -> None:
        if self.stream is not None and self._watch >= 0:
            loop.unwatch(self._watch)
        super().closed(loop, workers)

    def release(self) -> None:
        self._file.close()

    def _was_read(self, data: bytes) -> None:
        assert self.stream is not None
        self._ready = memoryview(data)
        if data:
            self._changed = True
        elif self._watch < 0:
            self.stream.finish({})
            return
        if self._changed:
            self.stream.ready()

    def _on_events(self, events: int) -> None:
        assert self.stream is not None
        if self.over:
            return
        self._changed = True
        self.stream.ready()
        # What happened does not matter, but the queue must be empty for the next report.
        for _ in range(_READS_PER_TURN):
            try:
                os.read(self._watch, _EVENTS_SIZE)
            except OSError:
                return
        self.stream.loop.call_soon(self._on_events, READABLE)
