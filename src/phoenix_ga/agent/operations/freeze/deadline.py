"""The timer that thaws automatically, on a thread that sleeps until it expires."""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Seconds between attempts after a failure.
RETRY_TIME: Final = 10.0
# About three years: a lock cannot wait for arbitrarily long.
_SECONDS_MAX: Final = 10**8


class Deadline:
    """Calls `expire` after `seconds`, then again until it returns True, unless `cancel` is called first.

    Raises:
        OSError: EAGAIN if no thread is left.
    """

    __slots__ = ("_cancelled", "_expire", "_expires")

    def __init__(self, seconds: float, expire: Callable[[], bool]) -> None:
        self._expire = expire
        self._expires = monotonic() + min(seconds, _SECONDS_MAX)
        self._cancelled = allocate_lock()
        self._cancelled.acquire()
        start_thread(self._wait, "the deadline of the freeze")

    @property
    def remaining(self) -> float:
        """Seconds left."""
        return max(0.0, self._expires - monotonic())

    def cancel(self) -> None:
        """Stop the timer. Must be called at most once."""
        self._cancelled.release()

    def _wait(self) -> None:
        seconds = self.remaining
        while not self._cancelled.acquire(True, seconds) and not self._expire():
            seconds = RETRY_TIME
