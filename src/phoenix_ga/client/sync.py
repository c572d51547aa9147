"""What the generated classes without asyncio stand on: an event loop in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.client.errors import ConnectionLostError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from phoenix_ga.client.guest import Guest

Result = TypeVar("Result")


class LoopThread:
    """An event loop that runs in a thread until it is closed, or not referenced any more."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=_run_loop, args=(self._loop,), name="phoenix-guest", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine and return its result. An interrupt cancels it and waits for its end.

        Raises ConnectionLostError after `close`, and in a child process.
        """
        with self._lock:
            reason = self._unusable()
            if reason:
                work.close()
                raise ConnectionLostError(reason)
            future = asyncio.run_coroutine_threadsafe(_start(work), self._loop)
        try:
            task, ended = future.result()
        except BaseException:
            future.cancel()
            raise
        try:
            ended.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            ended.wait()
            raise
        return task.result()

    def start(self, opening: Coroutine[Any, Any, Guest]) -> Guest:
        """Connect; the connection and the loop end when this object is not referenced any more."""
        try:
            guest = self.run(opening)
        except BaseException:
            self.close(_nothing())
            raise
        weakref.finalize(self, _finish, self._loop, self._pid, guest)
        return guest

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine and stop the thread. Does nothing the second time, and in a child process."""
        if self._unusable():
            last.close()
            return
        try:
            self.run(last)
        finally:
            with self._lock:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _unusable(self) -> str:
        if os.getpid() != self._pid:
            return "the connection belongs to the parent process; connect again after a fork"
        return "the connection was closed" if self._closed else ""


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _finish(loop: asyncio.AbstractEventLoop, pid: int, guest: Guest) -> None:
    if os.getpid() == pid and not loop.is_closed():
        closing = asyncio.run_coroutine_threadsafe(guest.close(), loop)
        closing.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))


async def _nothing() -> None:
    pass


async def _start(work: Coroutine[Any, Any, Result]) -> tuple[asyncio.Task[Result], threading.Event]:
    """Start a task; return it, and an event that is set at its end."""
    ended = threading.Event()
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda _: ended.set())
    return task, ended


class SyncObject:
    """Base class of the generated classes: an object of the async library, and the thread of its loop."""

    def __init__(self, thread: LoopThread, inner: Any) -> None:
        self._thread = thread
        self._inner = inner

    def __repr__(self) -> str:
        return f"<Sync {self._inner!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.run(self._inner.__aexit__(kind, error, traceback))
