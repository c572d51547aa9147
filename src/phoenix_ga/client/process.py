"""Programs in the guest."""

from __future__ import annotations

import asyncio
import signal
from types import TracebackType

from phoenix_ga.client import timeouts
from phoenix_ga.client.caller import Caller, read_opened
from phoenix_ga.client.connection import ExpectedStream
from phoenix_ga.client.errors import CompletedProcess, PhoenixError, ProcessTimeoutError, ProtocolError, StreamError
from phoenix_ga.client.generated.commands import ProcessesCommands
from phoenix_ga.client.models import read_returncode
from phoenix_ga.client.opening import opens
from phoenix_ga.client.reader import ReadError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.commands import WINDOW_DEFAULT


class GuestProcess:
    """A program that runs in the guest, started by `Guest.exec`.

    If you do not read `stdout` and `stderr`, the program blocks once their windows are full. As a context manager,
    it terminates the program at the end of the body, unless the program is detached.

    Attributes:
        argv: the program and its arguments.
        pid: its process ID in the guest.
        stdin: the stream to write to; `await process.stdin.end()` closes it.
        stdout: the stream to read from; the same object as stdin.
        stderr: the stream to read from; None with a terminal.
    """

    argv: tuple[str, ...]
    pid: int
    stdin: GuestStream
    stdout: GuestStream
    stderr: GuestStream | None

    def __init__(
        self,
        processes: ProcessesCommands,
        argv: tuple[str, ...],
        pid: int,
        main: GuestStream,
        stderr: GuestStream | None,
    ) -> None:
        self._processes = processes
        self.argv = argv
        self.pid = pid
        self.stdin = main
        self.stdout = main
        self.stderr = stderr

    def __repr__(self) -> str:
        return f"<GuestProcess {self.pid} {self.argv!r}>"

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated number of the signal; None until all of `stdout` was read."""
        return None if self.stdout.message is None else stream_returncode(self.stdout)

    @property
    def ended(self) -> bool:
        """Whether the program has ended; its output may still be unread."""
        return self.stdout.has_ended

    async def __aenter__(self) -> GuestProcess:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stdout.reset()
        if self.stderr is not None:
            await self.stderr.reset()

    async def wait(self) -> int:
        """Wait for the end of the program and return its return code. Its remaining output is dropped."""
        return await self._drain(None, None, None)

    async def communicate(
        self, input: bytes = b"", limit: int | None = None, timeout: float | None = None
    ) -> CompletedProcess:
        """Write `input`, close stdin, read all output and wait for the end of the program.

        Args:
            limit: of stdout and of stderr each, in bytes; raises StreamError if there is more.
            timeout: in seconds; None: no limit.

        Raises:
            ProcessTimeoutError: the program did not end in time; has its output so far.
        """
        stdout, stderr = bytearray(), bytearray()
        try:
            async with timeouts.timeout(timeout):
                returncode = await self._drain(stdout, stderr, input, limit)
        except asyncio.TimeoutError as error:
            if isinstance(error, PhoenixError):
                raise
            text = f"{self.argv[0] if self.argv else 'shell'} did not end within {timeout:g} s"
            raise ProcessTimeoutError(text, self.stdout.request, bytes(stdout), bytes(stderr)) from None
        return CompletedProcess(self.argv, returncode, bytes(stdout), bytes(stderr))

    async def _drain(
        self, stdout: bytearray | None, stderr: bytearray | None, input: bytes | None, limit: int | None = None
    ) -> int:
        """Read both outputs to their ends. input: to write before stdin is closed; None: leave it alone."""

        async def write() -> None:
            try:
                await self.stdin.write(input or b"")
                await self.stdin.end()
            except StreamError:
                # The program closed its stdin, or ended, before it had read everything.
                if not self.ended:
                    raise

        async def read(stream: GuestStream | None, buffer: bytearray | None) -> None:
            while stream is not None and (chunk := await stream.read_chunk()):
                if buffer is not None:
                    buffer += chunk
                    if limit is not None and len(buffer) > limit:
                        raise StreamError(f"the guest sent more than {limit} bytes", request=stream.request)

        tasks = [asyncio.ensure_future(read(self.stdout, stdout)), asyncio.ensure_future(read(self.stderr, stderr))]
        if input is not None:
            tasks.append(asyncio.ensure_future(write()))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return stream_returncode(self.stdout)

    async def send_signal(self, number: int) -> None:
        """Send a signal to the process group. Raises ProcessLookupError (a CommandError) if it has ended."""
        await self._processes.signal(self.pid, number)

    async def terminate(self) -> None:
        """Send SIGTERM to the process group."""
        await self.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Send SIGKILL to the process group."""
        await self.send_signal(signal.SIGKILL)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters."""
        await self._processes.resize(self.pid, rows, columns)


class Processes(ProcessesCommands):
    """Programs that `exec` started."""

    @opens
    async def attach(self, pid: int, *, window: int = WINDOW_DEFAULT) -> GuestProcess:
        """Attach to a program that was started with `detach`.

        Args:
            pid: its process ID.
            window: bytes of its output that may be in flight on each stream.

        Raises:
            CommandError: `ESRCH` (ProcessLookupError) if there is none; `EBUSY` if another client is attached.
        """
        expected = [_main_stream(window), ExpectedStream("stderr", window, sends=False, optional=True)]
        value, streams = await self._caller.open(expected, "exec-attach", pid=pid, window=window)
        pid, argv = await read_opened(
            lambda reader: (reader.member("pid").integer(), reader.member("argv").texts()), value, streams
        )
        return GuestProcess(self, argv, pid, streams["stream"], streams.get("stderr"))


async def start_process(
    caller: Caller, argv: tuple[str, ...], arguments: dict[str, object], window: int
) -> GuestProcess:
    """Run the command `exec`; see `Guest.exec`."""
    expected = [_main_stream(window)]
    if not arguments["terminal"]:
        expected.append(ExpectedStream("stderr", window, sends=False))
    value, streams = await caller.open(expected, "exec", argv=list(argv), window=window, **arguments)
    pid = await read_opened(lambda reader: reader.member("pid").integer(), value, streams)
    return GuestProcess(ProcessesCommands(caller), argv, pid, streams["stream"], streams.get("stderr"))


async def start_sftp(caller: Caller, user: str, read_only: bool, window: int) -> GuestProcess:
    """Run the command `sftp`; see `Guest.sftp`."""
    expected = [_main_stream(window), ExpectedStream("stderr", window, sends=False)]
    value, streams = await caller.open(expected, "sftp", user=user, read_only=read_only, window=window)
    pid = await read_opened(lambda reader: reader.member("pid").integer(), value, streams)
    return GuestProcess(ProcessesCommands(caller), ("sftp-server",), pid, streams["stream"], streams["stderr"])


def _main_stream(window: int) -> ExpectedStream:
    """Return the stream of stdin and stdout."""
    return ExpectedStream("stream", window, ends_both=True)


def stream_returncode(stream: GuestStream) -> int:
    """Return the return code in the closing message of a process. Raises ProtocolError."""
    try:
        return read_returncode(stream.message or {})
    except ReadError as error:
        raise ProtocolError(str(error), stream.request) from None
