"""A clock that runs while filesystems are frozen, on a thread that sleeps until it is due."""

from __future__ import annotations

import errno
from _thread import allocate_lock, start_new_thread
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Seconds between attempts to do what did not succeed.
RETRY_TIME: Final = 10.0
# More makes no difference, and no thread could wait for it.
_SECONDS_MAX: Final = 10**8


class Deadline:
    """Calls `expire` in `seconds`, and again as long as it returns False, unless `cancel` was called before.

    Raises OSError (EAGAIN) where the system has no thread for it.
    """

    __slots__ = ("_cancelled", "_due", "_expire")

    def __init__(self, seconds: float, expire: Callable[[], bool]) -> None:
        self._expire = expire
        self._due = monotonic() + min(seconds, _SECONDS_MAX)
        self._cancelled = allocate_lock()
        self._cancelled.acquire()
        try:
            start_new_thread(self._wait, ())
        except RuntimeError:
            raise OSError(
                errno.EAGAIN, "the system has no thread left for the deadline; nothing was frozen"
            ) from None

    @property
    def remaining(self) -> float:
        """How many seconds are left."""
        return max(0.0, self._due - monotonic())

    def cancel(self) -> None:
        """It is not needed any more. To be called once."""
        self._cancelled.release()

    def _wait(self) -> None:
        seconds = self.remaining
        while not self._cancelled.acquire(True, seconds) and not self._expire():
            seconds = RETRY_TIME
