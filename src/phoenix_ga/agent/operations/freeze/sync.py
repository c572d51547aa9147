"""The sync(2) before a freeze, with a time limit.

The kernel syncs each filesystem again when it freezes it. Syncing before only shortens the time for which
writers are blocked. sync(2) also waits for network filesystems, which may hang, so it has a thread of its own.
"""

from __future__ import annotations

from _thread import allocate_lock

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Seconds.
SYNC_TIME_LIMIT: Final = 30.0


class BoundedSync:
    """Runs `sync` for SYNC_TIME_LIMIT at most, and at most once at a time."""

    __slots__ = ("_running", "_sync")

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        # Held while the sync runs, which may outlast the freeze.
        self._running = allocate_lock()

    def run(self) -> str:
        """Sync; return a line for the log if the sync was skipped or timed out, else an empty string.

        Raises:
            OSError: EAGAIN if no thread is left.
        """
        if not self._running.acquire(False):
            return "skipped the sync before the freeze: an earlier one still hangs"
        try:
            start_thread(self._sync_and_release, "the sync before the freeze")
        except OSError:
            self._running.release()
            raise
        if not self._running.acquire(True, SYNC_TIME_LIMIT):
            return f"the sync before the freeze took more than {SYNC_TIME_LIMIT:.0f} s; froze without it"
        self._running.release()
        return ""

    def _sync_and_release(self) -> None:
        try:
            self._sync()
        finally:
            self._running.release()
