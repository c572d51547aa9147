"""Carrying bytes between sockets of this host and sockets of the guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from phoenix_ga.cli import stdio
from phoenix_ga.cli.address import Address
from phoenix_ga.cli.output import escape
from phoenix_ga.client import Guest, GuestError, GuestStream

_PIECE = 64 * 1024


async def join_stdio(stream: GuestStream) -> None:
    """Carry stdin to the stream, and the stream to stdout, until the guest ends it."""
    sending = asyncio.ensure_future(_send_stdin(stream))
    try:
        output = stdio.Output()
        while data := await stream.read():
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
    """Listen on this host, and connect in the guest; yield where."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join((reader, writer), guest, target, connect_here=False)

    if source.path:
        server: asyncio.Server = await asyncio.start_unix_server(serve, source.path)
    else:
        server = await asyncio.start_server(serve, source.host, source.port)
    async with server:
        address = server.sockets[0].getsockname()
        yield source.path or f"{address[0]}:{address[1]}"


@asynccontextmanager
async def listen_there(guest: Guest, source: Address, target: Address) -> AsyncIterator[str]:
    """Listen in the guest, and connect on this host; yield where."""
    async with await guest.listen(source.host if not source.path else "", source.port, source.path) as listener:

        async def accept() -> None:
            connections: set[asyncio.Task[None]] = set()
            try:
                async for accepted in listener:
                    pair = accepted.reader, accepted.writer
                    task = asyncio.ensure_future(_join(pair, guest, target, connect_here=True))
                    connections.add(task)
                    task.add_done_callback(connections.discard)
            finally:
                for task in connections:
                    task.cancel()

        accepting = asyncio.ensure_future(accept())
        try:
            yield source.path or f"{listener.host}:{listener.port}"
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)


async def _join(
    pair: tuple[asyncio.StreamReader, asyncio.StreamWriter], guest: Guest, target: Address, connect_here: bool
) -> None:
    """Connect to `target`, and carry bytes between it and `pair` until both directions end."""
    reader, writer = pair
    try:
        try:
            if not connect_here:
                other = await guest.connect(target.host, target.port, target.path)
            elif target.path:
                other = await asyncio.open_unix_connection(target.path)
            else:
                other = await asyncio.open_connection(target.host, target.port)
        except (GuestError, OSError) as error:
            click.echo(f"phoenixctl: {target}: {escape(str(error))}", err=True)
            return
        try:
            await asyncio.gather(_carry(reader, other[1]), _carry(other[0], writer))
        except OSError:
            pass  # One of them broke off, and so does the other now.
        finally:
            other[1].close()
    finally:
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
