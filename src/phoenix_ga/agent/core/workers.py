"""Threads for what may block: disks, ioctls, netlink, and whatever hangs in the kernel."""

from __future__ import annotations

from _queue import SimpleQueue
from _thread import allocate_lock, stack_size, start_new_thread
from errno import EAGAIN
from sys import setswitchinterval, version_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    Job = Callable[[], None]

# What the main thread could read, a worker must be able to write: newer Pythons nest JSON 10,000 deep before
# they refuse, and older ones 1,000, which takes 256 KiB. Too little for a huge page, where that will do: the
# kernel gives a large stack one, so that a worker that waits would take 2 MiB.
_STACK_SIZE: Final = (8 if version_info >= (3, 12) else 1) * 1024 * 1024
# How long the loop waits for the interpreter's lock before it asks a worker for it, in seconds.
_SWITCH_INTERVAL: Final = 0.0005


class Workers:
    """Runs jobs side by side, on at most `limit` threads that are made when there is work.

    An idle thread waits without waking up; all but `_IDLE_MAX` end when their work is done.
    A job must not raise.
    """

    _IDLE_MAX: Final = 2
    _URGENT_MAX: Final = 4

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = allocate_lock()
        self._threads = 0
        self._waiting = 0
        self._queued = 0
        self._urgent = 0
        stack_size(_STACK_SIZE)
        setswitchinterval(_SWITCH_INTERVAL)

    @property
    def limit(self) -> int:
        """The number of threads for jobs that are not urgent."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        for _ in range(self._queued):
            self._start_thread()

    def submit(self, job: Job) -> None:
        """Run the job on a thread as soon as one is free.

        Raises OSError (EAGAIN) where there is none and the system has none left.
        """
        with self._lock:
            self._queued += 1
        self._jobs.put(job)
        if not self._start_thread() and self._threads == 0:
            # Nobody would ever take it, nor has anybody else put one there.
            self._jobs.get()
            with self._lock:
                self._queued -= 1
            raise OSError(EAGAIN, "the system has no thread left for it; try again")

    def submit_urgent(self, job: Job) -> None:
        """Run the job on a thread of its own at once, even where all the others are stuck.

        Of many urgent jobs, the first few get their own thread, and the rest wait like any other.
        Raises OSError as `submit` does.
        """

        def work() -> None:
            try:
                job()
            finally:
                with self._lock:
                    self._urgent -= 1

        with self._lock:
            start = self._urgent < self._URGENT_MAX
            if start:
                self._urgent += 1
        if start:
            try:
                start_new_thread(work, ())
                return
            except RuntimeError:
                with self._lock:
                    self._urgent -= 1
        self.submit(job)

    def _start_thread(self) -> bool:
        """Start one more thread, where there is a job for it; tell whether one was started."""
        with self._lock:
            if self._queued <= self._waiting or self._threads >= self._limit:
                return False
            self._threads += 1
        try:
            start_new_thread(self._work, ())
        except RuntimeError:
            # No memory or no process left: the job waits for a thread that is there.
            with self._lock:
                self._threads -= 1
            return False
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._queued == 0 and self._waiting >= self._IDLE_MAX:
                    self._threads -= 1
                    return
                self._waiting += 1
            job = self._jobs.get()
            with self._lock:
                self._waiting -= 1
                self._queued -= 1
            job()
            # An idle thread would keep the last job's data alive.
            del job
