"""Transports: byte streams to a guest."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

_READ_SIZE: Final = 256 * 1024


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


class StreamTransport:
    """A transport over a pair of asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ_SIZE)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    @property
    def socket_transport(self) -> asyncio.Transport | None:
        """The transport of asyncio if the bytes come from a socket, for a reader of one's own; else None."""
        transport = self._writer.transport
        if isinstance(transport, asyncio.Transport) and transport.get_extra_info("socket") is not None:
            return transport
        return None

    async def stop_reading(self) -> bytes:
        """Return what was read from the socket already, and read nothing any more; its transport must be paused."""
        self._reader.feed_eof()
        return await self._reader.read()

    async def close(self) -> None:
        # An orderly close would wait forever for a guest that does not read. The socket is closed in the next
        # turn of the loop; wait_closed does not support two waiters of which one is cancelled.
        self._writer.transport.abort()
        await asyncio.sleep(0)


class UnixTransport(StreamTransport):
    """A transport over a Unix socket.

    Attributes:
        peer_uid: the user that listens on it (SO_PEERCRED).
        peer_path: the name of the socket, as that user calls it.
        inode: of the connected socket.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        connection: socket.socket = writer.get_extra_info("socket")
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

    return UnixTransport(*await _open(socket.AF_UNIX, connect))


async def open_tcp(host: str, port: int) -> Transport:
    """Connect to a TCP port. Raises OSError."""
    return StreamTransport(*await asyncio.open_connection(host, port, limit=_READ_SIZE))


async def open_vsock(cid: int, port: int) -> Transport:
    """Connect to a port of the guest with this context ID, vsock(7). Raises OSError."""
    loop = asyncio.get_running_loop()
    return StreamTransport(*await _open(socket.AF_VSOCK, lambda sock: loop.sock_connect(sock, (cid, port))))


async def _open(
    family: int, connect: Callable[[socket.socket], Awaitable[None]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await connect(connection)
        return await asyncio.open_connection(sock=connection, limit=_READ_SIZE)
    except BaseException:
        connection.close()
        raise
