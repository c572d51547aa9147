"""Threads for work that may block: disks, ioctls, netlink, and everything that may hang in the kernel."""

from __future__ import annotations

from _queue import SimpleQueue
from _thread import allocate_lock, stack_size
from errno import EAGAIN
from sys import setswitchinterval, version_info

from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    Job = Callable[[], None]

# A worker must be able to encode what the main thread could decode: JSON nested 10,000 deep in newer Pythons, and
# 1,000 deep, which takes 256 KiB, in older ones. A stack of 2 MiB or more gets a huge page, so an idle worker would
# take 2 MiB.
_STACK_SIZE: Final = (8 if version_info >= (3, 12) else 1) * 1024 * 1024
# How long the loop waits for the interpreter's lock before it requests it from a worker, in seconds.
_SWITCH_INTERVAL: Final = 0.0005


class Workers:
    """Runs jobs in parallel, on threads that are started when there is work.

    Idle threads wait without waking up; all but `_IDLE_MAX` end when their work is done. Jobs must not raise.

    Args:
        limit: Maximum number of threads, apart from those for urgent jobs.
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
        # The jobs of the thread that `reserve` started.
        self._reserved: SimpleQueue[Job] | None = None
        stack_size(_STACK_SIZE)
        setswitchinterval(_SWITCH_INTERVAL)

    @property
    def idle_threads(self) -> int | None:
        """The number of threads if all of them wait for jobs, else None."""
        with self._lock:
            if self._urgent or self._queued or self._waiting != self._threads:
                return None
            return self._threads + (self._reserved is not None)

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
        """Run the job on the next thread that is free.

        Raises:
            OSError: EAGAIN; no thread exists, and the system cannot start one.
        """
        with self._lock:
            self._queued += 1
        self._jobs.put(job)
        if not self._start_thread() and self._threads == 0:
            # No thread would ever take it. It is the only job in the queue.
            self._jobs.get()
            with self._lock:
                self._queued -= 1
            raise OSError(EAGAIN, "the system cannot start another thread; try again")

    def submit_urgent(self, job: Job) -> None:
        """Run the job at once on a thread of its own, even if all others are stuck.

        If there are many urgent jobs, the first few get their own threads and the rest wait like other jobs.
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
                start_thread(work, "a job")
                return
            except OSError:
                if self._reserved is not None:
                    self._reserved.put(work)
                    return
                with self._lock:
                    self._urgent -= 1
        self.submit(job)

    def reserve(self) -> None:
        """Start a thread for urgent jobs now, because the system may be unable to start one later.

        Raises:
            OSError: EAGAIN; the system cannot start a thread now.
        """
        if self._reserved is None:
            jobs: SimpleQueue[Job] = SimpleQueue()
            start_thread(_serve, "urgent jobs", jobs)
            self._reserved = jobs

    def _start_thread(self) -> bool:
        """Start a thread if a job needs one, and return whether one was started."""
        with self._lock:
            if self._queued <= self._waiting or self._threads >= self._limit:
                return False
            self._threads += 1
        try:
            start_thread(self._work, "a job")
        except OSError:
            # No memory or no process is left: the job waits for an existing thread.
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
            # An idle thread must not keep the data of its last job.
            del job


def _serve(jobs: SimpleQueue[Job]) -> None:
    while True:
        jobs.get()()
