"""Processes as the ends of streams, and who looks after them until they are gone."""

from __future__ import annotations

import os
from errno import ESRCH

from phoenix_ga.agent.endpoints.descriptor import DescriptorEndpoint
from phoenix_ga.agent.loop import SIGCHLD, SIGHUP, SIGKILL, SIGTERM
from phoenix_ga.agent.operations.processes import set_terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.loop import Loop
    from phoenix_ga.agent.operations.processes import Spawned
    from phoenix_ga.agent.streams import OpenStream
    from phoenix_ga.agent.workers import Workers

# How long a process has to end when its client is gone, in seconds.
_GRACE: Final = 5.0

# The processes that were started and not waited for yet, by process ID.
_running: Final[dict[int, Process]] = {}


class Process:
    """A process with its streams: `main` for stdin and stdout, or a terminal, and `error` for stderr."""

    def __init__(self, spawned: Spawned) -> None:
        self.pid = spawned.pid
        self.terminal = spawned.stdin == spawned.stdout
        # None: it runs.
        self.outcome: dict[str, Any] | None = None
        self.main = MainEndpoint(self, spawned.stdout, spawned.stdin)
        self.error = None if self.terminal else OutputEndpoint(self, spawned.stderr, -1)
        self._unwanted = False
        _running[self.pid] = self

    def signal(self, number: int) -> None:
        """Send a signal to the process group. Raises ProcessLookupError where it is gone."""
        if self.outcome is not None:
            raise ProcessLookupError(ESRCH, f"process {self.pid} has ended")
        os.killpg(self.pid, number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal. Raises OSError (ENOTTY) where there is none."""
        set_terminal_size(self.main.source, rows, columns)

    def watch(self, loop: Loop) -> None:
        """Notice its end from now on. For the loop's own thread."""
        loop.on_signal(SIGCHLD, look_after_processes)
        self.look()

    def end(self, loop: Loop) -> None:
        """Its client is gone: ask it to end, and make it end if it does not."""
        self.watch(loop)
        if self.outcome is not None or self._unwanted:
            return
        self._unwanted = True
        self._try_to_signal(SIGHUP if self.terminal else SIGTERM)
        loop.call_later(_GRACE, self._kill)

    def look(self) -> None:
        """See whether it has ended."""
        if self.outcome is not None:
            return
        # It is not waited for yet: nobody else can get its number while the rest of its group is ended.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        if self._unwanted:
            self._try_to_signal(SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        del _running[self.pid]
        if os.WIFSIGNALED(status):
            self.outcome = {"signal": os.WTERMSIG(status)}
        else:
            self.outcome = {"status": os.WEXITSTATUS(status)}
        for endpoint in (self.main, self.error):
            if endpoint is not None:
                endpoint.process_ended()

    def _kill(self) -> None:
        if self.outcome is None:
            self._try_to_signal(SIGKILL)

    def _try_to_signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except OSError:
            pass


class OutputEndpoint(DescriptorEndpoint):
    """What a process writes. It ends when nobody can write any more, or with the process."""

    def __init__(self, process: Process, source: int, sink: int) -> None:
        super().__init__(source, sink)
        self.process = process

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        if self.process.outcome is not None:
            self.process_ended()

    def drained(self) -> bool:
        # What the process left in the pipe has been read. Others may have the pipe open for ever.
        return self.process.outcome is not None

    def process_ended(self) -> None:
        """The process is gone; what it wrote is still sent."""
        if self._stream is not None:
            self._stream.ready()


class MainEndpoint(OutputEndpoint):
    """Stdin and stdout of a process, or its terminal. Its last words are the exit status."""

    @property
    def source(self) -> int:
        """The file descriptor of the terminal's master side."""
        return self._source

    def take_nothing(self) -> None:
        """Close the process's stdin. To be called before the endpoint has a stream."""
        os.close(self._sink)
        self._sink = -1
        self.window = 0

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        self.process.watch(stream.loop)

    def source_ended(self) -> None:
        self._tell()

    def process_ended(self) -> None:
        if self._source_ended:
            self._tell()
        else:
            super().process_ended()

    def end_sink(self) -> None:
        # A terminal stays open for what the program still writes.
        if not self.process.terminal:
            super().end_sink()

    def closed(self, loop: Loop, workers: Workers) -> None:
        super().closed(loop, workers)
        self.process.end(loop)

    def _tell(self) -> None:
        assert self._stream is not None
        if self.process.outcome is not None:
            self._stream.finish(self.process.outcome, both=True)


def find_process(pid: int) -> Process:
    """Return a process that was started and runs. Raises ProcessLookupError."""
    process = _running.get(pid)
    if process is None:
        raise ProcessLookupError(ESRCH, f"no process {pid} that was started by exec")
    return process


def look_after_processes() -> None:
    """Some process has ended; see which."""
    for process in list(_running.values()):
        process.look()
