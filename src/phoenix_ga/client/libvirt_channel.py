"""The agent's channel of a libvirt domain as a transport, over any URI of libvirt.

libvirt-python (LGPL) is optional. Its events run in a thread of libvirt's own loop: libvirt has one for a process,
and a process may have several of asyncio.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import EBUSY, ENOENT
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

from phoenix_ga.client.endpoints import split_libvirt
from phoenix_ga.client.errors import ConnectError
from phoenix_ga.client.inventory import AGENT_PORTS

Result = TypeVar("Result")

# The second one is libvirt's own.
_CHANNEL: Final = AGENT_PORTS[0]
# libvirt's messages hold less than 256 KiB.
_MESSAGE_MAX: Final = 252 * 1024
# Received bytes that nobody has read; beyond, libvirt is not asked for more.
_UNREAD_MAX: Final = 1024 * 1024
# Seconds that libvirt has to close a connection; then it is left to itself.
_CLOSING_TIME: Final = 2.0


async def open_libvirt(address: str, force: bool = False) -> LibvirtTransport:
    """Open the channel of the domain `URI/DOMAIN`. force: take it from another client. Raises ConnectError."""
    library = libvirt_library()
    uri, domain = split_libvirt(address)
    loop = asyncio.get_running_loop()
    flags = library.VIR_DOMAIN_CHANNEL_FORCE if force else 0

    def connect() -> LibvirtTransport:
        # One connection a guest: libvirt stops reading from one whose messages a guest does not take.
        connection = library.open(uri)
        try:
            stream = connection.newStream(library.VIR_STREAM_NONBLOCK)
            connection.lookupByName(domain).openChannel(_CHANNEL, stream, flags)
        except library.libvirtError:
            connection.close()
            raise
        return LibvirtTransport(library, connection, stream, loop)

    try:
        return await in_thread(connect, LibvirtTransport.abandon)
    except library.libvirtError as error:
        raise _explained(f"libvirt:{address}", error.get_error_message() or str(error)) from None


class LibvirtTransport:
    """A transport over a stream of libvirt. Events come from libvirt's thread."""

    def __init__(self, library: Any, connection: Any, stream: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._library = library
        self._connection = connection
        self._stream = stream
        self._loop = loop
        self._reader = asyncio.StreamReader(2 * _UNREAD_MAX, loop=loop)
        self._lock = threading.Lock()
        self._unread = 0
        self._is_reading = True
        self._ended = False
        stream.eventAddCallback(self._events(), self._on_event, None)

    async def read(self) -> bytes:
        """See `Transport`."""
        data = await self._reader.read(_UNREAD_MAX)
        with self._lock:
            self._unread -= len(data)
            goes_on = not self._is_reading and not self._ended and self._unread < _UNREAD_MAX
            self._is_reading = self._is_reading or goes_on
        if goes_on:
            self._stream.eventUpdateCallback(self._events())
        return data

    async def write(self, data: bytes) -> None:
        """See `Transport`."""
        try:
            for start in range(0, len(data), _MESSAGE_MAX):
                # It does not block: libvirt keeps what its socket has no room for. Windows bound that.
                self._stream.send(data[start : start + _MESSAGE_MAX])
        except self._library.libvirtError as error:
            raise ConnectionResetError(error.get_error_message()) from None

    async def close(self) -> None:
        """See `Transport`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(in_thread(self.abandon), _CLOSING_TIME)

    def abandon(self) -> None:
        """Close the connection, which may take as long as libvirt likes."""
        self._stop()
        # Also an error of another program: the stream may have ended.
        for deed in (self._stream.abort, self._connection.close):
            with suppress(self._library.libvirtError):
                deed()

    def _events(self) -> int:
        library = self._library
        ends: int = library.VIR_STREAM_EVENT_HANGUP | library.VIR_STREAM_EVENT_ERROR
        return ends | (library.VIR_STREAM_EVENT_READABLE if self._is_reading else 0)

    def _on_event(self, stream: Any, events: int, _: Any) -> None:
        """Read what has arrived. Called in libvirt's thread."""
        try:
            data = stream.recv(_MESSAGE_MAX) if self._is_reading else b""
        except self._library.libvirtError as error:
            self._end(ConnectionResetError(error.get_error_message()))
            return
        if data == -2:
            # Nothing yet, and nothing will come after an error.
            if not events & self._library.VIR_STREAM_EVENT_READABLE:
                self._end(None)
        elif data:
            self._received(data)
        else:
            self._end(None)

    def _received(self, data: bytes) -> None:
        with self._lock:
            self._unread += len(data)
            stops = self._unread >= _UNREAD_MAX
            self._is_reading = not stops
        self._tell(lambda: self._reader.feed_data(data))
        if stops:
            self._stream.eventUpdateCallback(self._events())

    def _end(self, error: Exception | None) -> None:
        self._stop()
        self._tell(self._reader.feed_eof if error is None else lambda: self._reader.set_exception(error))

    def _stop(self) -> None:
        """Wait for no more events."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            with suppress(self._library.libvirtError):
                self._stream.eventRemoveCallback()

    def _tell(self, news: Callable[[], None]) -> None:
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(news)


@lru_cache(maxsize=1)
def libvirt_library() -> Any:
    """Return libvirt-python, whose events run in a thread from now on. Raises ConnectError."""
    try:
        import libvirt
    except ImportError:
        text = "libvirt-python is missing; install Debian's python3-libvirt, or pip install 'phoenix-ga[libvirt]'"
        raise ConnectError(text, errno=ENOENT) from None
    # Else it prints its errors as well.
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            with suppress(libvirt.libvirtError):
                libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt", daemon=True).start()
    return libvirt


async def in_thread(deed: Callable[[], Result], undo: Callable[[Result], None] | None = None) -> Result:
    """Return what a function returns that may block for ever; no program waits for its thread when it exits.

    Args:
        undo: is called with the result if it comes after the wait was cancelled.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def succeed(result: Result) -> None:
        if not done.cancelled():
            done.set_result(result)
        elif undo is not None:
            threading.Thread(target=undo, args=(result,), daemon=True).start()

    def fail(error: Exception) -> None:
        if not done.cancelled():
            done.set_exception(error)

    def run() -> None:
        news: Callable[[], None]
        try:
            news = partial(succeed, deed())
        except Exception as error:
            news = partial(fail, error)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(news)

    threading.Thread(target=run, name="libvirt-call", daemon=True).start()
    return await done


def _explained(endpoint: str, text: str) -> ConnectError:
    """Return the error with what to do next."""
    if "ctive channel stream" in text or "ctive console session" in text:
        forced = endpoint.replace("libvirt:", "libvirt-force:", 1)
        return ConnectError(f"{endpoint}: another client uses the channel; to take it: {forced}", errno=EBUSY)
    if "cannot find channel" in text or "cannot find character device" in text:
        return ConnectError(f"{endpoint}: the domain has no channel {_CHANNEL}; docs/installing.md has its XML")
    return ConnectError(f"{endpoint}: {text}")
