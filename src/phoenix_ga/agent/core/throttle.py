"""Throttling: bulk work leaves the processors to requests.

On a small machine an answer is late not because of a queue, but because every processor is busy. So while
one answer follows another, transfers and digests work in short pieces, and pause for longer than they worked.
"""

from __future__ import annotations

from _queue import SimpleQueue
from os import cpu_count
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Requests that follow each other within this time start throttling, in seconds.
_REQUEST_GAP: Final = 0.02
# How long a worker pauses for each second of work, and the longest pause in seconds.
_PAUSE_RATIO: Final = 2.0
_PAUSE_MAX: Final = 0.005


class Throttle:
    """Decides when bulk work pauses. May be used from any thread.

    Attributes:
        turns: Has one item for each digest that may be computed at once: one fewer than there are processors.
    """

    def __init__(self) -> None:
        self._last_request = self._active_until = 0.0
        self.turns: SimpleQueue[None] = SimpleQueue()
        for _ in range(max(1, (cpu_count() or 1) - 1)):
            self.turns.put(None)

    def note_request(self) -> None:
        """Record an answered request; two within 20 ms start throttling."""
        now = monotonic()
        if now - self._last_request < _REQUEST_GAP:
            self._active_until = now + _REQUEST_GAP
        self._last_request = now

    @property
    def requests_active(self) -> bool:
        """Whether requests follow each other, so that bulk work should yield."""
        return monotonic() < self._active_until

    def pause(self, started: float) -> None:
        """Pause a worker whose piece of work began at `started` (monotonic clock), if requests are active."""
        now = monotonic()
        # Even a sleep of 0 lets another thread take the interpreter's lock.
        sleep(min((now - started) * _PAUSE_RATIO, _PAUSE_MAX) if now < self._active_until else 0)
