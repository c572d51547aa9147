"""Transports: byte streams to a guest."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from errno import ECONNRESET
from typing import Final, Protocol, TypeVar

_READ_SIZE: Final = 256 * 1024

_Socket = TypeVar("_Socket", bound="SocketTransport")


class Transport(Protocol):
    """A byte stream in both directions. One task reads; one task at a time writes."""

    async def read(self) -> bytes:
        """Return received bytes; empty at the end. Raises OSError."""

    async def write(self, data: bytes) -> None:
        """Write all of `data`, and return when there is room for more. Raises OSError.

        If it is cancelled, `data` is written completely all the same.
        """

    async def close(self) -> None:
        """Close the stream. Data that was not sent yet is dropped."""


class SocketTransport(asyncio.BufferedProtocol):
    """A transport over a socket, as a protocol of asyncio.

    asyncio receives into its buffer, of which `read_view` returns views: nothing is copied on the way. If the buffer
    is full, nothing is received until it was read.
    """

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_READ_SIZE))
        # What was received and not yet returned is between these two.
        self._start = self._end = 0
        self._is_full = False
        self._has_ended = False
        self._is_lost = False
        self._error: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        # Set while asyncio holds too much that was not sent.
        self._room: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        return bytes(await self.read_view())

    async def read_view(self) -> memoryview:
        """Return received bytes as `read` does. They are valid until the next call."""
        while self._start == self._end:
            self._start = self._end = 0
            if self._error is not None:
                raise self._error
            if self._has_ended:
                break
            if self._is_full:
                self._is_full = False
                self.socket_transport.resume_reading()
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        start, self._start = self._start, self._end
        return self._buffer[start : self._end]

    async def write(self, data: bytes) -> None:
        self.socket_transport.write(data)
        if self.socket_transport.is_closing():
            # Learn that the connection is lost.
            await asyncio.sleep(0)
        if self._room is not None:
            # The waiting may be cancelled.
            await asyncio.shield(self._room)
        if self._error is not None:
            raise self._error
        if self._is_lost:
            raise ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))

    def stop_reading(self) -> bytes:
        """Return what was received already, and read nothing any more; `socket_transport` must be paused."""
        rest = bytes(self._buffer[self._start : self._end])
        # A hub has a thousand of them.
        self._buffer = memoryview(bytearray())
        self._start = self._end = 0
        self._has_ended = True
        return rest

    async def close(self) -> None:
        # An orderly close would wait forever for a guest that does not read. The socket is closed in the next
        # turn of the loop.
        self.socket_transport.abort()
        await asyncio.sleep(0)

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.socket_transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        if self._end == len(self._buffer):
            self._is_full = True
            self.socket_transport.pause_reading()
        _wake(self._arrival)

    def eof_received(self) -> bool:
        self._has_ended = True
        _wake(self._arrival)
        # The other direction stays open.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = self._is_lost = True
        self._error = exc
        _wake(self._arrival)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        _wake(room)


class UnixTransport(SocketTransport):
    """A transport over a Unix socket.

    Attributes:
        peer_uid: the user that listens on it (SO_PEERCRED).
        peer_path: the name of the socket, as that user calls it.
        inode: of the connected socket.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection: socket.socket = transport.get_extra_info("socket")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, self.peer_uid, _ = struct.unpack("3i", credentials)
        self.peer_path: str = connection.getpeername()
        self.inode = os.fstat(connection.fileno()).st_ino


async def open_unix_socket(path: str) -> UnixTransport:
    """Connect to the Unix socket at `path`. Raises OSError."""

    async def connect(connection: socket.socket) -> None:
        # connect(2) on a non-blocking Unix socket succeeds or fails at once. asyncio would take EAGAIN, which
        # means a full backlog, for a connection in progress.
        connection.connect(path)

    return await _open(UnixTransport, socket.AF_UNIX, connect)


async def open_tcp(host: str, port: int) -> Transport:
    """Connect to a TCP port. Raises OSError."""
    return (await asyncio.get_running_loop().create_connection(SocketTransport, host, port))[1]


async def open_vsock(cid: int, port: int) -> Transport:
    """Connect to a port of the guest with this context ID, vsock(7). Raises OSError."""
    loop = asyncio.get_running_loop()
    return await _open(SocketTransport, socket.AF_VSOCK, lambda sock: loop.sock_connect(sock, (cid, port)))


async def _open(kind: type[_Socket], family: int, connect: Callable[[socket.socket], Awaitable[None]]) -> _Socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await connect(connection)
        return (await asyncio.get_running_loop().create_connection(kind, sock=connection))[1]
    except BaseException:
        connection.close()
        raise


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
