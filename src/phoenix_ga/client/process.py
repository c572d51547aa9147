"""Processes in the guest."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from phoenix_ga.client.errors import ProtocolViolation, StreamBroken
from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.client.streams import GuestStream

if TYPE_CHECKING:
    from phoenix_ga.client.guest import Guest


@dataclass(frozen=True)
class ProcessInformation:
    """A process in a list. pid: its number. argv, user: as they were given to `exec`.

    started: in seconds since the epoch. terminal: it has one. detached: it goes on without a client.
    attached: a client has its streams. returncode: as `subprocess` has it, None while it runs.
    """

    pid: int
    argv: tuple[str, ...]
    user: str
    started: int
    terminal: bool
    detached: bool
    attached: bool
    returncode: int | None


def read_processes(shape: Shape) -> tuple[ProcessInformation, ...]:
    """Return the processes of a list."""
    return shape.items(_read_process)


def _read_process(shape: Shape) -> ProcessInformation:
    ended = shape.has("signal") or shape.has("status")
    return ProcessInformation(
        pid=shape.member("pid").integer(),
        argv=shape.member("argv").items(Shape.text),
        user=shape.member("user").text(),
        started=shape.member("started").integer(),
        terminal=shape.member("terminal").boolean(),
        detached=shape.member("detached").boolean(),
        attached=shape.member("attached").boolean(),
        returncode=_returncode(shape) if ended else None,
    )


@dataclass(frozen=True)
class CompletedProcess:
    """What became of a process.

    argv: as it was started. returncode: its exit status, or the number of the signal that ended it,
    negated, as `subprocess` has it. stdout, stderr: all that it wrote.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    def check_returncode(self) -> None:
        """Raise ProcessFailed unless the exit status is 0."""
        if self.returncode != 0:
            raise ProcessFailed(self)


class ProcessFailed(Exception):
    """A process in the guest ended with an exit status other than 0, or by a signal. completed: what it was."""

    def __init__(self, completed: CompletedProcess) -> None:
        self.completed = completed
        super().__init__(describe_returncode(completed.argv[0] if completed.argv else "shell", completed.returncode))


def describe_returncode(program: str, returncode: int) -> str:
    """Return in words how a program ended."""
    if returncode >= 0:
        return f"{program} ended with status {returncode}"
    try:
        return f"{program} was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"{program} was ended by signal {-returncode}"


class GuestProcess:
    """A process that runs in the guest, made by `Guest.exec`.

    pid: its number there. stdin: to write to and to `end`; with a terminal it is also what `stdout`
    is. stdout, stderr: to read from until the end; stderr is None with a terminal. Leaving it as a
    context manager ends the process, unless it is detached.
    """

    def __init__(
        self, guest: Guest, argv: tuple[str, ...], pid: int, main: GuestStream, stderr: GuestStream | None
    ) -> None:
        self._guest = guest
        self.argv = argv
        self.pid = pid
        self.stdin = main
        self.stdout = main
        self.stderr = stderr

    def __repr__(self) -> str:
        return f"<GuestProcess {self.pid} {self.argv!r}>"

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` has it; None before all of `stdout` was read."""
        return None if self.stdout.message is None else read_returncode(self.stdout)

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
        """Return how it ended. What it writes to stdout until then is dropped."""
        while await self.stdout.read():
            pass
        returncode = self.returncode
        assert returncode is not None
        return returncode

    async def communicate(self, input: bytes = b"", limit: int | None = None) -> CompletedProcess:
        """Write `input`, read all that it writes, and return what became of it.

        limit: of stdout and of stderr, in bytes; more of it raises StreamBroken.
        """

        async def feed() -> None:
            try:
                await self.stdin.write(input)
                await self.stdin.end()
            except StreamBroken:
                # It ended, or closed its stdin, before it had read all.
                if not self.ended:
                    raise

        async def read(stream: GuestStream | None) -> bytes:
            return b"" if stream is None else await stream.read_all(limit)

        feeding = asyncio.ensure_future(feed())
        reading = [asyncio.ensure_future(read(stream)) for stream in (self.stdout, self.stderr)]
        try:
            await asyncio.gather(feeding, *reading)
        finally:
            for task in (feeding, *reading):
                task.cancel()
            await asyncio.gather(feeding, *reading, return_exceptions=True)
        returncode = self.returncode
        assert returncode is not None
        return CompletedProcess(self.argv, returncode, *(task.result() for task in reading))

    @property
    def ended(self) -> bool:
        """Whether the guest has told how it ended; what it wrote may still be there to be read."""
        return self.stdout.has_ended

    async def send_signal(self, number: int) -> None:
        """Send a signal to its process group. Raises GuestRefused, a ProcessLookupError, where it is gone."""
        await self._guest.exec_signal(self.pid, number)

    async def terminate(self) -> None:
        """Send SIGTERM."""
        await self.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Send SIGKILL."""
        await self.send_signal(signal.SIGKILL)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal that the window has another size."""
        await self._guest.exec_resize(self.pid, rows, columns)


def read_returncode(stream: GuestStream) -> int:
    """Return what the last words of a stream say of how a process ended. Raises ProtocolViolation."""
    try:
        return _returncode(Shape(stream.message or {}, "the closing message"))
    except ShapeError as error:
        raise ProtocolViolation(str(error), stream.request) from None


def _returncode(shape: Shape) -> int:
    if shape.has("signal"):
        return -_within(shape.member("signal").integer(), 1, 127)
    return _within(shape.member("status").integer(), 0, 255)


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ShapeError(f"a process cannot end with {value}")
    return value
