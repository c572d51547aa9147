"""Standard input and output beside an event loop, whatever they are: a file, a pipe or a terminal.

Reading or writing them may block for ever, so that is done in a thread that does not keep the program
from ending. Whoever started us may have them in non-blocking mode, and a mode that is shared with other
programs is not ours to change: there the thread waits for the file descriptor.
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
    """Runs one call after the other for an event loop."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    async def run(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `call` returns; raise what it raises. Cancelled, it forgets the result."""
        import asyncio

        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def work() -> None:
            try:
                result = call(*arguments)
            except BaseException as error:
                self._tell(loop, done, done.set_exception, error)
            else:
                self._tell(loop, done, done.set_result, result)

        self._calls.put(work)
        return await done

    def _work(self) -> None:
        while True:
            self._calls.get()()

    @staticmethod
    def _tell(
        loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], settle: Callable[[Any], None], value: Any
    ) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else settle(value))
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.


class Input:
    """What comes on a file descriptor."""

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._thread = _Thread()

    async def read(self) -> bytes:
        """Return what comes, none at the end. Raises OSError."""
        return await self._thread.run(self._read)

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                _wait(self._fd, select.POLLIN)


class Output:
    """What goes to a file descriptor."""

    def __init__(self, fd: int = STDOUT) -> None:
        self._fd = fd
        self._thread = _Thread()

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises OSError, BrokenPipeError where nobody reads any more."""
        await self._thread.run(self._write, data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                _wait(self._fd, select.POLLOUT)


def _wait(fd: int, events: int) -> None:
    waiting = select.poll()
    waiting.register(fd, events)
    waiting.poll()
