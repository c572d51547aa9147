"""Processes as the ends of streams."""

from __future__ import annotations

import os
from errno import ESRCH
from fcntl import fcntl
from time import time

from phoenix_ga.agent.core.loop import READABLE, SIGHUP, SIGKILL, SIGTERM
from phoenix_ga.agent.endpoints.descriptor import WINDOW, DescriptorEndpoint
from phoenix_ga.agent.operations.processes import set_terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.process_table import ProcessTable
    from phoenix_ga.agent.operations.processes import ChildProcess
    from phoenix_ga.agent.operations.program_groups import ProgramGroup
    from phoenix_ga.agent.protocol.streams import OpenStream

# fcntl(2); the module fcntl has no name for it before Python 3.10.
F_SETPIPE_SZ: Final = 1031
# Seconds between SIGTERM and SIGKILL to a process whose client is gone.
_GRACE: Final = 5.0
# How many bytes a detached process can write before it blocks until a client attaches.
_PIPE_SIZE: Final = 256 * 1024
# Output that nobody wants is read in pieces of this size, and a few in a row.
_DISCARDED_SIZE: Final = 64 * 1024
_READS_PER_TURN: Final = 4


class Process:
    """A process with its streams: `main` for stdin and stdout, or a terminal, and `error` for stderr.

    Args:
        argv, user: as given when it was started, for lists.
        detached: it continues after its client has left, and waits for another one.

    Attributes:
        outcome: its exit status or signal; None while it runs.
        attached: a client has its streams.
        reported: a client has received the outcome.
    """

    def __init__(
        self,
        table: ProcessTable,
        child: ChildProcess,
        group: ProgramGroup,
        argv: tuple[str, ...] = (),
        user: str = "",
        detached: bool = False,
    ) -> None:
        self.table = table
        self.pid = child.pid
        self.group = group
        self.terminal = child.stdin == child.stdout
        self.argv = argv
        self.user = user
        self.detached = detached
        self.started = int(time())
        self.outcome: dict[str, Any] | None = None
        self.attached = True
        self.reported = False
        self.main = MainEndpoint(self, child.stdout, child.stdin)
        self.error = None if self.terminal else OutputEndpoint(self, child.stderr, -1)
        self._terminated = False
        if detached and not self.terminal:
            for fd in (child.stdin, child.stdout, child.stderr):
                _enlarge(fd)
        table.add(self)

    @property
    def endpoints(self) -> dict[str, OutputEndpoint]:
        """Its endpoints, by the names of their streams."""
        return {"stream": self.main} if self.error is None else {"stream": self.main, "stderr": self.error}

    def reattach(self) -> None:
        """Prepare the endpoints for the streams of another client."""
        for endpoint in self.endpoints.values():
            endpoint.reattach()

    def client_left(self) -> None:
        """Keep it for another client, once none of its streams is open any more."""
        if not self.reported and not any(endpoint.is_open for endpoint in self.endpoints.values()):
            self.attached = False
            if self.outcome is not None:
                self.table.expire_later(self)

    def close(self) -> None:
        """Close what is kept for another client."""
        for endpoint in self.endpoints.values():
            endpoint.close_if_detached()

    def signal(self, number: int) -> None:
        """Send a signal to the process group. Raises ProcessLookupError if it has ended."""
        if self.outcome is not None:
            raise ProcessLookupError(ESRCH, f"process {self.pid} has ended")
        os.killpg(self.pid, number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal. Raises OSError (ENOTTY) if there is none."""
        set_terminal_size(self.main.source, rows, columns)

    @property
    def ending(self) -> bool:
        """Whether it was told to end, because its client is gone, and has not ended yet."""
        return self._terminated and self.outcome is None

    def watch(self) -> None:
        """Watch for its end. For the loop's thread."""
        self.table.watch()
        self.check_exit()

    def terminate(self) -> None:
        """End it, because its client is gone: SIGTERM, or SIGHUP with a terminal, then SIGKILL."""
        self.watch()
        if self.outcome is not None or self._terminated:
            return
        self._terminated = True
        self._try_to_signal(SIGHUP if self.terminal else SIGTERM)
        self.table.loop.call_later(_GRACE, self._kill)

    def check_exit(self) -> None:
        """Find out whether it has ended."""
        if self.outcome is not None:
            return
        # WNOWAIT: the process ID cannot be reused before the rest of its group has been killed.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        if self._terminated:
            self._try_to_signal(SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.table.ended(self)
        if os.WIFSIGNALED(status):
            self.outcome = {"signal": os.WTERMSIG(status)}
        else:
            self.outcome = {"status": os.WEXITSTATUS(status)}
        self.table.tell_end(self)
        for endpoint in self.endpoints.values():
            endpoint.process_ended()
        if not self.attached:
            self.table.expire_later(self)

    def _kill(self) -> None:
        if self.outcome is None:
            self._try_to_signal(SIGKILL)

    def _try_to_signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except OSError:
            pass


class OutputEndpoint(DescriptorEndpoint):
    """The output of a process. It ends when all writers have closed it, or with the process."""

    def __init__(self, process: Process, source: int, sink: int) -> None:
        super().__init__(source, sink)
        self.process = process
        self.is_open = True
        # Bytes of earlier clients that must be written before the current one is granted more.
        self._ungranted = 0
        # While it reads what nobody wants.
        self._discarding_loop: Loop | None = None

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        if self._source_ended:
            self.source_ended()
        elif self.process.outcome is not None:
            self.process_ended()

    def reattach(self) -> None:
        """Prepare for the stream of another client."""
        self.is_open = True
        if self._sink < 0:
            self.window = 0
            return
        # What earlier clients sent still takes room. A window of 0 would mean that nothing can ever be sent.
        self.window = max(1, WINDOW - len(self._pending))
        self._ungranted = self.window + len(self._pending) - WINDOW

    def consumed(self, size: int) -> None:
        withheld = min(size, self._ungranted)
        self._ungranted -= withheld
        if size > withheld:
            super().consumed(size - withheld)

    def close_if_detached(self) -> None:
        """Close what is kept for another client."""
        if not self.is_open:
            self.close_all()

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.is_open = False
        self.detach_stream()
        if self.process.detached and not self.process.reported:
            # What waits for the sink, and what is in the pipe, stays for the next client.
            self.process.watch()
            self.process.client_left()
            return
        self.client_gone()
        if self.process.ending:
            self._discard_until_end(loop)
        else:
            self.close_all()

    def client_gone(self) -> None:
        """The client is gone for good, and the stream with it."""

    def drained(self) -> bool:
        # All that the process wrote has been read. Other processes may hold the pipe open for ever.
        return self.process.outcome is not None

    def process_ended(self) -> None:
        """Send what the process has written, then end the stream."""
        if self._discarding_loop is not None:
            self._discarding_loop.unwatch(self._source)
            self._discarding_loop = None
            self.close_all()
        elif self._stream is not None:
            self._stream.ready()

    def _discard_until_end(self, loop: Loop) -> None:
        """Keep the pipe, and drop what comes: SIGPIPE must not kill a program that cleans up."""
        self._pending = bytearray()
        self.end_sink()
        self._discarding_loop = loop
        loop.watch(self._source, lambda events: self._discard(), READABLE)
        self._discard()

    def _discard(self) -> None:
        if self._discarding_loop is None:
            return
        try:
            for _ in range(_READS_PER_TURN):
                if not os.read(self._source, _DISCARDED_SIZE):
                    return
        except OSError:
            return
        self._discarding_loop.call_soon(self._discard)


class MainEndpoint(OutputEndpoint):
    """Stdin and stdout of a process, or its terminal. Its closing message is the exit status."""

    @property
    def source(self) -> int:
        """The file descriptor of the terminal's master side."""
        return self._source

    def close_stdin(self) -> None:
        """Close the process's stdin. To be called before the endpoint has a stream."""
        os.close(self._sink)
        self._sink = -1
        self.window = 0

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        self.process.watch()

    def source_ended(self) -> None:
        self._report()

    def process_ended(self) -> None:
        if self._source_ended and self._discarding_loop is None:
            self._report()
        else:
            super().process_ended()

    def end_sink(self) -> None:
        # A terminal stays open for what the program still writes.
        if not self.process.terminal:
            super().end_sink()

    def client_gone(self) -> None:
        if not self.process.detached:
            self.process.terminate()
        else:
            self.process.table.forget(self.process)

    def _report(self) -> None:
        if self._stream is not None and self.process.outcome is not None:
            self.process.reported = True
            self._stream.finish(self.process.outcome, both=True)


def _enlarge(pipe: int) -> None:
    try:
        fcntl(pipe, F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass
