"""Writing dirty data to the disks before a freeze, with a time limit.

The kernel writes back each filesystem again when it freezes it, and blocks writers meanwhile: what is written before
shortens that. Only the filesystems that are going to be frozen are written back, each by syncfs(2), because sync(2)
would also wait for network filesystems, which may hang.
"""

from __future__ import annotations

from _queue import Empty, SimpleQueue
from time import monotonic

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.operations.freeze.targets import Target

# For all filesystems together, in seconds.
WRITE_BACK_TIME_LIMIT: Final = 10.0
# Filesystems that are written back at once: more would not make a disk faster, and one that hangs stops one thread.
_THREADS: Final = 4
_POLL_TIME: Final = 0.1


class WriteBack:
    """Writes back filesystems."""

    __slots__ = ("_backend", "_hanging")

    def __init__(self, backend: FreezeBackend) -> None:
        self._backend = backend
        # Device numbers of filesystems whose write-back has not returned yet. It may outlast the freeze.
        self._hanging: set[int] = set()

    def run(self, targets: Sequence[Target], cancelled: Callable[[], bool]) -> str:
        """Write back; return a line for the log if not everything was written back, else an empty string.

        Args:
            cancelled: called repeatedly; once it returns True, nothing is waited for.

        Raises:
            OSError: EAGAIN if no thread is left.
        """
        late = [target.point for target in targets if target.device in self._hanging]
        waiting = [target for target in targets if target.device not in self._hanging]
        unfinished = {target.device: target.point for target in waiting}
        finished: SimpleQueue[int] = SimpleQueue()

        def work() -> None:
            while True:
                try:
                    target = waiting.pop()
                except IndexError:
                    return
                self._hanging.add(target.device)
                try:
                    self._backend.sync(target.descriptor)
                except OSError:
                    # The freeze itself reports it.
                    pass
                finally:
                    self._hanging.discard(target.device)
                    finished.put(target.device)

        deadline = monotonic() + WRITE_BACK_TIME_LIMIT
        try:
            for _ in range(min(_THREADS, len(waiting))):
                start_thread(work, "the write-back before the freeze")
            while unfinished and monotonic() < deadline and not cancelled():
                try:
                    del unfinished[finished.get(True, _POLL_TIME)]
                except Empty:
                    continue
        finally:
            # The descriptors are closed soon.
            waiting.clear()
        late += unfinished.values()
        if not late:
            return ""
        return f"not all dirty data of {', '.join(sorted(late))} was written before the freeze"
