"""A transport over the stdin and stdout of a program, such as ssh(1)'s ProxyCommand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from errno import ECONNRESET
from typing import Final

_READ_SIZE: Final = 256 * 1024
# The end of what the program writes to stderr, for the error message.
_COMPLAINT_MAX: Final = 1024
# Seconds that a program that was told to end has for it.
_GRACE: Final = 2.0


class ProgramTransport:
    """A transport over a running program. name: of it, for messages."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._complaint = b""
        self._listening = asyncio.ensure_future(self._listen())

    async def read(self) -> bytes:
        """See `Transport`."""
        assert self._process.stdout is not None
        data = await self._process.stdout.read(_READ_SIZE)
        if not data:
            await self._process.wait()
            await self._listening
            raise ConnectionResetError(ECONNRESET, self._obituary())
        return data

    async def write(self, data: bytes) -> None:
        """See `Transport`."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def close(self) -> None:
        """See `Transport`."""
        await end_program(self._process)
        self._listening.cancel()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_COMPLAINT_MAX):
            self._complaint = (self._complaint + data)[-_COMPLAINT_MAX:]

    def _obituary(self) -> str:
        return complaint(self._name, self._process.returncode, self._complaint)


async def open_program(argv: Sequence[str], name: str) -> ProgramTransport:
    """Start a program. Raises OSError."""
    pipe = asyncio.subprocess.PIPE
    # Not of the terminal's foreground group: Ctrl-C is for this program, which ends that one.
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=pipe, stdout=pipe, stderr=pipe, limit=_READ_SIZE, start_new_session=True
    )
    return ProgramTransport(process, name)


async def end_program(
    process: asyncio.subprocess.Process, grace: float = _GRACE, on_kill: Callable[[], None] | None = None
) -> None:
    """End a program, with SIGKILL if it does not heed SIGTERM.

    Args:
        grace: time that it has for each of them, in seconds.
        on_kill: is called before SIGKILL.
    """
    if process.stdin is not None:
        process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if number == signal.SIGKILL and on_kill is not None:
            on_kill()
        if process.returncode is None:
            # Process.terminate() would wait for the program behind asyncio's back.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), grace)
            return


def complaint(name: str, status: int | None, output: bytes) -> str:
    """Return how a program ended, with the last line that it wrote to stderr."""
    lines = output.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{name} ended with status {status}" + (f": {last}" if last else "")
