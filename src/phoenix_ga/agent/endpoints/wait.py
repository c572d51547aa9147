"""The source of `wait-for`: sends a line for each condition that is fulfilled."""

from __future__ import annotations

from phoenix_ga.agent.endpoints.file import FileEndpoint
from phoenix_ga.wire.json_text import encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.core.loop import Loop, Timer
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.operations.waiting.waiting import Waiting
    from phoenix_ga.agent.protocol.streams import OpenStream

# Between two checks, in seconds: a flood of changes must not keep a worker busy.
_PAUSE: Final = 0.02


class WaitEndpoint(FileEndpoint):
    """Checks the conditions once, and then whenever one of their sources is ready.

    Args:
        first_only: End with the first condition that is fulfilled.
    """

    def __init__(self, waiting: Waiting, first_only: bool) -> None:
        super().__init__()
        self._waiting = waiting
        self._first_only = first_only
        self._to_check = set(waiting.pending)
        self._lines = b""
        self._finished = False
        self._pause: Timer | None = None
        self._periodic: Timer | None = None

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        for name, source in self._waiting.sources.items():
            stream.watch(source.fd, self._when_ready(name), source.events)
        self._check()

    def pull(self, size: int) -> Piece:
        assert self.stream is not None
        piece, self._lines = self._lines[:size], self._lines[size:]
        if not piece and self._finished:
            self.stream.finish({})
        return piece

    def closed(self, loop: Loop, workers: Workers) -> None:
        for timer in (self._pause, self._periodic):
            if timer is not None:
                timer.cancel()
        if self.stream is not None:
            for source in self._waiting.sources.values():
                loop.unwatch(source.fd)
        super().closed(loop, workers)

    def release(self) -> None:
        self._waiting.close()

    def _when_ready(self, name: str) -> Callable[[int], None]:
        return lambda events: self._happened(name)

    def _happened(self, name: str) -> None:
        if self.over:
            return
        concerned, more = self._waiting.changed(name, self.working)
        self._to_check |= concerned
        self._check()
        if more:
            assert self.stream is not None
            self.stream.loop.call_soon(self._happened, name)

    def _check(self) -> None:
        """Check on a worker what is to be checked, unless that is going on or was done just now."""
        if self._to_check and not (self.working or self._pause or self._finished):
            indexes, self._to_check = self._to_check, set()
            self.work(lambda: self._waiting.check(indexes), self._checked)

    def _checked(self, checked: tuple[list[tuple[int, str]], set[int]]) -> None:
        assert self.stream is not None
        found, again = checked
        self._to_check |= again
        waiting, loop = self._waiting, self.stream.loop
        for index, text in found[:1] if self._first_only else found:
            del waiting.pending[index]
            self._lines += encode_json({"condition": index, "found": text}) + b"\n"
        self._finished = not waiting.pending or bool(found and self._first_only)
        if found or self._finished:
            self.stream.ready()
        if not self._finished:
            self._pause = loop.call_later(_PAUSE, self._pause_is_over)

    def _pause_is_over(self) -> None:
        assert self.stream is not None
        self._pause = None
        period = self._waiting.period
        if period and self._periodic is None:
            self._periodic = self.stream.loop.call_later(period, self._check_periodically)
        self._check()

    def _check_periodically(self) -> None:
        self._periodic = None
        self._to_check |= {index for index, condition in self._waiting.pending.items() if condition.period}
        self._check()
