"""Processes as the ends of streams, and who looks after them until they are gone."""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EAGAIN, EBUSY, ESRCH
from fcntl import fcntl
from time import time

from phoenix_ga.agent.core.loop import SIGCHLD, SIGHUP, SIGKILL, SIGTERM
from phoenix_ga.agent.endpoints.descriptor import WINDOW, DescriptorEndpoint
from phoenix_ga.agent.operations.processes import set_terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.operations.processes import ChildProcess
    from phoenix_ga.agent.protocol.streams import OpenStream

# fcntl(2); the module fcntl has no name for it before Python 3.10.
F_SETPIPE_SZ: Final = 1031
# How long a process has to end when its client is gone, in seconds.
_GRACE: Final = 5.0

# How many processes may be detached at once, and how long one that has ended is kept, in seconds.
_DETACHED_MAX: Final = 64
_KEPT_TIME: Final = 3600.0
# What a detached process can write before it has to wait until somebody attaches, in bytes.
_PIPE_SIZE: Final = 256 * 1024

# The processes that were started and not waited for yet, by process ID.
_running: Final[dict[int, Process]] = {}
# Those detached ones that have ended, and nobody has been told how.
_ended: Final[dict[int, Process]] = {}
_lock: Final = allocate_lock()


class Process:
    """A process with its streams: `main` for stdin and stdout, or a terminal, and `error` for stderr.

    argv, user: as it was started, for lists. detached: it goes on when its client is gone, and waits for
    another one. outcome: how it ended; None while it runs. attached: a client has its streams.
    """

    def __init__(
        self, spawned: ChildProcess, argv: tuple[str, ...] = (), user: str = "", detached: bool = False
    ) -> None:
        self.pid = spawned.pid
        self.terminal = spawned.stdin == spawned.stdout
        self.argv = argv
        self.user = user
        self.detached = detached
        self.started = int(time())
        self.outcome: dict[str, Any] | None = None
        self.attached = True
        self.told = False
        self._loop: Loop | None = None
        self.main = MainEndpoint(self, spawned.stdout, spawned.stdin)
        self.error = None if self.terminal else OutputEndpoint(self, spawned.stderr, -1)
        self._unwanted = False
        if detached and not self.terminal:
            for fd in (spawned.stdin, spawned.stdout, spawned.stderr):
                _enlarge(fd)
        with _lock:
            _ended.pop(self.pid, None)
            _running[self.pid] = self

    @property
    def endpoints(self) -> dict[str, OutputEndpoint]:
        """Its endpoints, by the names of their streams."""
        return {"stream": self.main} if self.error is None else {"stream": self.main, "stderr": self.error}

    def attach(self) -> None:
        """Take its streams for a client. Raises OSError (EBUSY) where another one has them. From any thread."""
        with _lock:
            if self.attached:
                raise OSError(EBUSY, f"a client is attached to process {self.pid}")
            self.attached = True
        for endpoint in self.endpoints.values():
            endpoint.unpark()

    def park(self) -> None:
        """Its client is gone: keep it for another one, once none of its streams is open any more."""
        if not self.told and not any(endpoint.is_open for endpoint in self.endpoints.values()):
            self.attached = False
            if self.outcome is not None:
                self._keep_ended()

    def forget(self) -> None:
        """Let go of what is left of a process that has ended."""
        if _ended.get(self.pid) is self:
            del _ended[self.pid]
        for endpoint in self.endpoints.values():
            endpoint.let_go()

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
        self._loop = loop
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
        with _lock:
            del _running[self.pid]
            if self.detached:
                # Also while a stream of it is still open: somebody may look for it now.
                _ended[self.pid] = self
        if os.WIFSIGNALED(status):
            self.outcome = {"signal": os.WTERMSIG(status)}
        else:
            self.outcome = {"status": os.WEXITSTATUS(status)}
        for endpoint in (self.main, self.error):
            if endpoint is not None:
                endpoint.process_ended()
        if not self.attached:
            self._keep_ended()

    def _keep_ended(self) -> None:
        """Keep how it ended, and what it wrote, for a while."""
        with _lock:
            _ended[self.pid] = self
        assert self._loop is not None
        self._loop.call_later(_KEPT_TIME, self._expire)

    def _expire(self) -> None:
        if not self.attached:
            self.forget()

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
        self.is_open = True

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        if self._source_ended:
            self.source_ended()
        elif self.process.outcome is not None:
            self.process_ended()

    def unpark(self) -> None:
        """Be ready for the stream of another client."""
        self.is_open = True
        self.window = WINDOW if self._sink >= 0 else 0

    def let_go(self) -> None:
        """Close what is kept for another client."""
        if not self.is_open:
            self.release_all()

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.is_open = False
        if not self.process.detached or self.process.told:
            super().closed(loop, workers)
            return
        # What waits for the sink, and what is in the pipe, is there when another client comes.
        self.rest()
        self.process.watch(loop)
        self.process.park()

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
        if not self.process.detached:
            self.process.end(loop)
        elif self.process.told:
            self.process.forget()

    def _tell(self) -> None:
        if self._stream is not None and self.process.outcome is not None:
            self.process.told = True
            self._stream.finish(self.process.outcome, both=True)


def find_process(pid: int) -> Process:
    """Return a process that was started and runs. Raises ProcessLookupError."""
    process = _running.get(pid)
    if process is None:
        raise ProcessLookupError(ESRCH, f"no process {pid} that was started by exec")
    return process


def find_detached(pid: int) -> Process:
    """Return a detached process, which may have ended. Raises ProcessLookupError."""
    process = _running.get(pid) or _ended.get(pid)
    if process is None or not process.detached:
        raise ProcessLookupError(ESRCH, f"no detached process {pid}")
    return process


def all_processes() -> list[Process]:
    """Return the processes that run, and those that ended detached and nobody was told. From any thread."""
    with _lock:
        return [*_running.values(), *_ended.values()]


def check_room() -> None:
    """Raise OSError (EAGAIN) where no further process may be detached."""
    if sum(process.detached for process in all_processes()) >= _DETACHED_MAX:
        raise OSError(EAGAIN, f"{_DETACHED_MAX} processes are detached, which is the limit; attach to some")


def _enlarge(pipe: int) -> None:
    try:
        fcntl(pipe, F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass


def look_after_processes() -> None:
    """Some process has ended; see which."""
    for process in list(_running.values()):
        process.look()
