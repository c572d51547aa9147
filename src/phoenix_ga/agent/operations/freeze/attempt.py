"""One attempt to freeze, on a thread of its own, because the kernel may not return from it."""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Seconds in which the kernel must freeze a filesystem, or the freeze fails.
FREEZE_TIME_LIMIT: Final = 20.0


class Attempt:
    """Runs `work` once. One thread may wait for its end.

    Attributes:
        entered: the mount point of the filesystem that the kernel is freezing, and since when; None if it is not.
    """

    __slots__ = ("_done", "_error", "_work", "entered")

    def __init__(self, work: Callable[[Attempt], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self.entered: tuple[str, float] | None = None
        self._done = allocate_lock()
        self._done.acquire()

    def start(self) -> None:
        """Start the thread. Raises OSError (EAGAIN) if no thread is left."""
        start_thread(self._run, "the freeze")

    def wait(self) -> tuple[str, float] | None:
        """Wait for the end, and raise what `work` raised; return `entered` if the kernel does not return in time."""
        entered = None
        while entered is None or monotonic() < entered[1] + FREEZE_TIME_LIMIT:
            rest = FREEZE_TIME_LIMIT if entered is None else entered[1] + FREEZE_TIME_LIMIT - monotonic()
            if self._done.acquire(True, max(0.0, rest)):
                if self._error is not None:
                    raise self._error
                return None
            entered = self.entered
        return entered

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()
