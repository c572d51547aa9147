"""Relaying bytes between sockets of this host and sockets of the guest."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from phoenix_ga.cli import stdio
from phoenix_ga.cli.address import Address
from phoenix_ga.cli.errors import complain, explain
from phoenix_ga.client import Guest, GuestStream, PhoenixError

_PIECE = 64 * 1024

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join_stdio(stream: GuestStream) -> None:
    """Send stdin to the stream and the stream to stdout until the guest ends it."""
    sending = asyncio.ensure_future(_send_stdin(stream))
    try:
        output = stdio.Output()
        while data := await stream.read_chunk():
            await output.write(data)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send_stdin(stream: GuestStream) -> None:
    source = stdio.Input()
    while data := await source.read():
        await stream.write(data)
    await stream.end()


@asynccontextmanager
async def listen_here(guest: Guest, source: Address, target: Address) -> AsyncIterator[str]:
    """Listen on this host and connect in the guest; yield the address that is listened on."""

    async def connect() -> Pair:
        return await guest.connect(target.host, target.port, target.path)

    connections = _Connections(target, connect)
    if source.path:
        server: asyncio.Server = await asyncio.start_unix_server(connections.start, sock=_listen_on_path(source.path))
        inode = os.stat(source.path).st_ino
    else:
        server = await asyncio.start_server(connections.start, source.host, source.port)
        inode = 0
    async with connections:
        try:
            host, port = ("", 0) if source.path else server.sockets[0].getsockname()[:2]
            yield str(Address(host, port, source.path))
        finally:
            server.close()
            with suppress(FileNotFoundError):
                if inode and os.stat(source.path).st_ino == inode:
                    os.unlink(source.path)


def _listen_on_path(path: str) -> socket.socket:
    """Return a socket that listens on `path`, which only our user can connect to. Raises OSError.

    A socket of ours that nobody listens on any more is replaced.
    """
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        _remove_dead_socket(path)
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror or str(error), path) from None
    finally:
        os.umask(umask)
    return listener


def _remove_dead_socket(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "already exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            pass
        except BlockingIOError:
            raise OSError(errno.EADDRINUSE, "another program listens on this socket") from None
        else:
            raise OSError(errno.EADDRINUSE, "another program listens on this socket")
    if status.st_uid != os.geteuid():
        raise OSError(errno.EADDRINUSE, "a socket of another user is in the way")
    os.unlink(path)


@asynccontextmanager
async def listen_there(
    guest: Guest, source: Address, target: Address, ended: asyncio.Future[None]
) -> AsyncIterator[str]:
    """Listen in the guest and connect on this host; yield the address that is listened on.

    Args:
        ended: Gets the error if the guest stops listening.
    """

    async def connect() -> Pair:
        if target.path:
            return await asyncio.open_unix_connection(target.path)
        return await asyncio.open_connection(target.host, target.port)

    async with guest.listen(source.host if not source.path else "", source.port, source.path) as listener:

        async def accept() -> None:
            try:
                while True:
                    accepted = await listener.accept()
                    connections.start(accepted.reader, accepted.writer)
            except PhoenixError as error:
                if not ended.done():
                    ended.set_exception(error)

        async with _Connections(target, connect) as connections:
            accepting = asyncio.ensure_future(accept())
            try:
                yield str(Address(listener.host, listener.port, source.path))
            finally:
                accepting.cancel()
                await asyncio.gather(accepting, return_exceptions=True)


class _Connections:
    """Accepted connections, each with one to the target. Leaving the context closes them."""

    def __init__(self, target: Address, connect: Callable[[], Awaitable[Pair]]) -> None:
        self._target = target
        self._connect = connect
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> _Connections:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an accepted connection."""
        task = asyncio.ensure_future(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the target, and relay until both directions end."""
        try:
            try:
                other = await self._connect()
            except (PhoenixError, OSError) as error:
                complain(f"{self._target}: {explain(error)[1]}")
                return
            try:
                await asyncio.gather(_copy(reader, other[1]), _copy(other[0], writer))
            except OSError:
                pass  # One side broke off, so both are closed.
            finally:
                other[1].close()
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
