"""The processes that were started with streams."""

from __future__ import annotations

from _thread import allocate_lock
from errno import EAGAIN, EBUSY, ESRCH

from phoenix_ga.agent.core.loop import SIGCHLD
from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.context import Context
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.endpoints.process import Process

# How many processes may be detached at once, and how many seconds one that has ended is kept.
DETACHED_MAX: Final = 64
_KEPT_TIME: Final = 3600.0


class ProcessTable:
    """The processes that run, and detached ones that ended before a client learned their exit status.

    publish: takes the name and the data of an event.
    """

    def __init__(self, loop: Loop, publish: Callable[[str, dict[str, Any]], None] = lambda name, data: None) -> None:
        self.loop = loop
        self._publish = publish
        self._running: dict[int, Process] = {}
        # In the order of their ends. Process IDs are reused, so they do not identify them.
        self._ended: dict[Process, None] = {}
        self._lock = allocate_lock()

    @property
    def in_use(self) -> bool:
        """Whether processes run, or a client may still ask for their ends."""
        return bool(self._running or self._ended)

    def add(self, process: Process) -> None:
        """Add a process that was just started. From any thread."""
        with self._lock:
            self._running[process.pid] = process

    def find(self, pid: int) -> Process:
        """Return a running process. Raises ProcessLookupError."""
        process = self._running.get(pid)
        if process is None:
            raise ProcessLookupError(ESRCH, f"no process {pid} that was started by exec")
        return process

    def attach(self, pid: int) -> Process:
        """Reserve the streams of a detached process, which may have ended, for a client. From any thread.

        Raises:
            ProcessLookupError: there is no such process.
            OSError: EBUSY if another client is attached.
        """
        with self._lock:
            ended = (process for process in reversed(self._ended) if process.pid == pid)
            process = self._running.get(pid) or next(ended, None)
            if process is None or not process.detached:
                raise ProcessLookupError(ESRCH, f"no detached process {pid}")
            if process.attached:
                raise OSError(EBUSY, f"a client is attached to process {pid}")
            process.attached = True
        process.reattach()
        return process

    def all(self) -> list[Process]:
        """Return all processes. From any thread."""
        with self._lock:
            return [*self._running.values(), *self._ended]

    def make_room(self) -> None:
        """Make room for one more detached process: forget the one that ended first, if there are too many.

        From any thread.

        Raises:
            OSError: EAGAIN if too many run or have a client.
        """
        with self._lock:
            detached = sum(process.detached for process in (*self._running.values(), *self._ended))
            if detached < DETACHED_MAX:
                return
            oldest = next((process for process in self._ended if not process.attached), None)
            if oldest is None:
                raise OSError(EAGAIN, f"{DETACHED_MAX} processes are detached, which is the limit; attach to some")
            del self._ended[oldest]
        oldest.close()

    def watch(self) -> None:
        """Watch for the end of processes. For the loop's thread."""
        self.loop.on_signal(SIGCHLD, self.check_exits)

    def check_exits(self) -> None:
        """Find out which processes have ended. For the loop's thread."""
        for process in list(self._running.values()):
            process.check_exit()

    def ended(self, process: Process) -> None:
        """Record the end of a process. For the loop's thread."""
        with self._lock:
            del self._running[process.pid]
            if process.detached:
                self._ended[process] = None
        if process.group.exists:
            try:
                start_thread(process.group.end, "the control group of a program")
            except OSError:
                # The group stays until the agent ends.
                pass

    def tell_end(self, process: Process) -> None:
        """Publish the end of a detached process."""
        if process.detached and process.outcome is not None:
            outcome = {"status": -1, "signal": 0, **process.outcome}
            self._publish("PROGRAM_ENDED", {"pid": process.pid, "argv": [*process.argv], **outcome})

    def expire_later(self, process: Process) -> None:
        """Forget a detached process after a while, unless a client is attached then. For the loop's thread."""
        self.loop.call_later(_KEPT_TIME, lambda: None if process.attached else self.forget(process))

    def forget(self, process: Process) -> None:
        """Forget a process that has ended, and close its streams."""
        with self._lock:
            if process not in self._ended:
                return
            del self._ended[process]
        process.close()


def process_table(context: Context) -> ProcessTable:
    """Return the agent's process table."""
    return context.part(_make)


def _make(context: Context) -> ProcessTable:
    return ProcessTable(context.loop, context.publish)
