"""Transports: a byte stream to a guest, whatever carries it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

_READ_SIZE: Final = 256 * 1024


class Transport(Protocol):
    """A byte stream in both directions. One task reads, and one at a time writes."""

    async def read(self) -> bytes:
        """Return bytes as they come; none at the end. Raises OSError where the link broke."""

    async def write(self, data: bytes) -> None:
        """Take all of `data`, and return when there is room for more. Raises OSError.

        Where it is cancelled, `data` goes out whole all the same.
        """

    async def close(self) -> None:
        """End the stream; what was not sent yet is dropped."""


class StreamTransport:
    """A transport over a pair of asyncio's streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ_SIZE)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        # A guest that reads nothing would keep an orderly end waiting for ever. The socket is closed in
        # the next turn of the loop; wait_closed is not for two that wait, one of which is cancelled.
        self._writer.transport.abort()
        await asyncio.sleep(0)


async def open_unix_socket(path: str) -> Transport:
    """Connect to the Unix socket at `path`. Raises OSError."""

    async def connect(connection: socket.socket) -> None:
        # At once, or not at all: asyncio would take a socket with too many clients for one that it may write to.
        connection.connect(path)

    return await _open(socket.AF_UNIX, connect)


async def open_tcp(host: str, port: int) -> Transport:
    """Connect to a TCP port. Raises OSError."""
    return StreamTransport(*await asyncio.open_connection(host, port, limit=_READ_SIZE))


async def open_vsock(cid: int, port: int) -> Transport:
    """Connect to a port of the guest whose context ID is `cid`, vsock(7). Raises OSError."""
    loop = asyncio.get_running_loop()
    return await _open(socket.AF_VSOCK, lambda connection: loop.sock_connect(connection, (cid, port)))


async def _open(family: int, connect: Callable[[socket.socket], Awaitable[None]]) -> Transport:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await connect(connection)
        return StreamTransport(*await asyncio.open_connection(sock=connection, limit=_READ_SIZE))
    except BaseException:
        connection.close()
        raise
