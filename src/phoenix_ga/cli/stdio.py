"""Standard input and output for an event loop, whether file, pipe or terminal.

Reads and writes may block for ever, so a daemon thread does them, which does not keep the process alive. If stdio is
in non-blocking mode, the thread polls: the mode is shared with other processes, and is not ours to change.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import asyncio

Result = TypeVar("Result")

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
_READ_SIZE: Final = 64 * 1024


class _Thread:
    """Runs one call after the other for an event loop, until it is garbage."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._calls,), daemon=True).start()

    def __del__(self) -> None:
        self._calls.put(None)

    async def run(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `call` returns, or raise what it raises. If cancelled, the result is dropped."""
        import asyncio

        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def work() -> None:
            try:
                result = call(*arguments)
            except BaseException as error:
                self._settle(loop, done, done.set_exception, error)
            else:
                self._settle(loop, done, done.set_result, result)

        self._calls.put(work)
        return await done

    @staticmethod
    def _settle(
        loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], settle: Callable[[Any], None], value: Any
    ) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else settle(value))
        except RuntimeError:
            pass  # The loop is closed.


def _work(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        # It refers to the object whose end ends the thread.
        del call


class Input:
    """A file descriptor to read from."""

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._thread = _Thread()

    async def read(self) -> bytes:
        """Return available data; empty at the end. Raises OSError."""
        return await self._thread.run(self._read)

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                _poll(self._fd, select.POLLIN)


class Output:
    """A file descriptor to write to."""

    def __init__(self, fd: int = STDOUT) -> None:
        self._fd = fd
        self._thread = _Thread()

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises OSError, BrokenPipeError if the reader has gone."""
        await self._thread.run(self._write, data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                _poll(self._fd, select.POLLOUT)


def _poll(fd: int, events: int) -> None:
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()
