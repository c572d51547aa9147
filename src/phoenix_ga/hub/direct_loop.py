"""An event loop that reads busy sockets without a turn of asyncio, which takes longer than the hub needs for a line.

Everything else of the hub uses asyncio as usual.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from selectors import SelectorKey

    from _typeshed import FileDescriptorLike
    from typing_extensions import TypeVarTuple, Unpack

    _Words = TypeVarTuple("_Words")

_READ_SIZE: Final = 256 * 1024
# Twice the largest window.
_SEND_BUFFER: Final = 2 * 1024 * 1024
# From <asm-generic/socket.h>: beyond net.core.wmem_max, with CAP_NET_ADMIN.
_SO_SNDBUFFORCE: Final = 32


class DirectSocket:
    """Reads and writes the socket of a transport in place of asyncio.

    Args:
        transport: of the socket; it still takes what the socket has no room for, and closes it.
        receive: is called with received bytes.
        ended: is called once at the end, or if the socket fails; nothing is read any more.
    """

    def __init__(
        self, transport: asyncio.Transport, receive: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DirectLoop)
        self._loop = loop
        self._transport = transport
        self._unsent = transport.get_write_buffer_size
        self._receive = receive
        self._ended = ended
        # asyncio closes its own descriptor if it cannot write.
        self._fd = os.dup(transport.get_extra_info("socket").fileno())
        _enlarge_buffer(transport.get_extra_info("socket"))
        self._is_reading = False
        self._has_ended = False
        transport.pause_reading()
        self.resume()

    def write_now(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """Write all of `pieces`, now or later, if nothing waits to be written. Return false if something does."""
        if self._unsent() or self._has_ended:
            return False
        try:
            size = os.writev(self._fd, pieces)
        except OSError:
            # Full; or asyncio will have the same error, and tell its protocol.
            size = 0
        if size < sum(map(len, pieces)):
            self._transport.write(b"".join(pieces)[size:])
        return True

    def resume(self) -> None:
        """Go on reading."""
        if not (self._is_reading or self._has_ended):
            self._is_reading = True
            self._loop.watch(self._fd, self._read)

    def pause(self) -> None:
        """Read nothing for now."""
        if self._is_reading:
            self._is_reading = False
            self._loop.unwatch(self._fd)

    def stop(self) -> None:
        """Read nothing any more. May be called twice."""
        self.pause()
        if not self._has_ended:
            self._has_ended = True
            os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        try:
            if data:
                self._receive(data)
            else:
                self.stop()
                self._ended()
        except Exception as error:
            # As asyncio does it with an error of a protocol.
            self.stop()
            self._transport.abort()
            context = {"message": "error while processing received bytes", "exception": error}
            self._loop.call_exception_handler(context)


class DirectLoop(asyncio.SelectorEventLoop):
    """The event loop for direct sockets."""

    def __init__(self) -> None:
        self._direct = _DirectSelector()
        super().__init__(self._direct)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the descriptor can be read."""
        self._direct.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor."""
        self._direct.unwatch(fd)

    def call_soon(
        self, callback: Callable[[Unpack[_Words]], object], *args: Unpack[_Words], context: Context | None = None
    ) -> asyncio.Handle:
        self._direct.interrupted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Words]], object],
        *args: Unpack[_Words],
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._direct.interrupted = True
        return super().call_at(when, callback, *args, context=context)


def _enlarge_buffer(connection: socket.socket) -> None:
    """Let the kernel hold a whole window of a stream, so that nothing of it has to wait here."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
    except PermissionError:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def run_directly(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in such a loop, as asyncio.run() does."""
    loop = DirectLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_end_tasks(loop))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _end_tasks(loop: DirectLoop) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _DirectSelector(selectors.BaseSelector):
    """Waits for asyncio's events, and calls those who wait for their own meanwhile.

    Attributes:
        interrupted: asyncio has something to do.
    """

    def __init__(self) -> None:
        self._others = selectors.EpollSelector()
        self._epoll = select.epoll()
        self._others_fd = self._others.fileno()
        self._epoll.register(self._others_fd, select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {}
        self.interrupted = False

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        deadline = None if timeout is None else monotonic() + timeout
        wait = -1.0 if timeout is None else max(timeout, 0.0)
        while True:
            self.interrupted = False
            events = self._epoll.poll(wait)
            for fd, _ in events:
                # An earlier one may have stopped a later one.
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback()
                elif fd == self._others_fd:
                    self.interrupted = True
            if self.interrupted or not events:
                return self._others.select(0) if events else []
            if deadline is not None:
                wait = deadline - monotonic()
                if wait <= 0:
                    return []

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:
        return self._others.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._others.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:
        return self._others.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, SelectorKey]:
        return self._others.get_map()

    def close(self) -> None:
        self._others.close()
        self._epoll.close()
