"""The transport over a socket: nothing is lost or reordered, and what nobody reads takes bounded memory."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from phoenix_ga.client.transport import SocketTransport, UnixTransport, open_unix_socket

_BUFFER = 256 * 1024
Check = Callable[[SocketTransport, socket.socket], Awaitable[None]]


@pytest.fixture
def with_peer(tmp_path: Path) -> Callable[[Check], None]:
    """Connect a transport, and run a check with it and the other end."""

    async def run(check: Check) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            transport = await open_unix_socket(str(tmp_path / "socket"))
            assert isinstance(transport, UnixTransport)
            with listener.accept()[0] as peer:
                peer.setblocking(False)
                try:
                    await asyncio.wait_for(check(transport, peer), 60)
                finally:
                    await transport.close()

    return lambda check: asyncio.run(run(check))


async def _read_all(transport: SocketTransport) -> bytes:
    data = b""
    while piece := await transport.read_view():
        data += piece
    return data


def test_data_arrives_whole_and_in_order(with_peer: Callable[[Check], None]) -> None:
    sent = random.Random(1).randbytes(3 * _BUFFER + 1)

    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        async def send() -> None:
            await asyncio.get_running_loop().sock_sendall(peer, sent)
            peer.shutdown(socket.SHUT_WR)

        received, _ = await asyncio.gather(_read_all(transport), send())
        assert received == sent
        assert await transport.read() == b""

    with_peer(check)


def test_what_nobody_reads_stays_with_the_sender(with_peer: Callable[[Check], None]) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        sent = 0
        idle = 0
        while idle < 10:
            try:
                sent += peer.send(bytes(65536))
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0.01)
        # The kernel's buffers, and that of the transport.
        assert _BUFFER < sent < _BUFFER + 2 * 1024 * 1024
        received = 0
        while received < sent:
            received += len(await transport.read())
        peer.send(b"more")
        assert await transport.read() == b"more"

    with_peer(check)


def test_data_before_the_end_is_read_and_the_other_direction_stays_open(with_peer: Callable[[Check], None]) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.05)
        assert await _read_all(transport) == b"last"
        await transport.write(b"answer")
        assert peer.recv(100) == b"answer"

    with_peer(check)


def test_a_cancelled_write_is_complete_and_the_next_one_waits_for_room_again(
    with_peer: Callable[[Check], None],
) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        first, second = b"a" * 2_000_000, b"b" * 2_000_000
        for data in (first, second):
            writing = asyncio.ensure_future(transport.write(data))
            await asyncio.sleep(0.05)
            assert not writing.done()
            if data is first:
                writing.cancel()
                await asyncio.wait({writing})
                assert writing.cancelled()
        received = bytearray()
        while len(received) < 4_000_000:
            received += await asyncio.get_running_loop().sock_recv(peer, 65536)
        await writing
        assert bytes(received) == first + second

    with_peer(check)


def test_a_cancelled_read_loses_nothing(with_peer: Callable[[Check], None]) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        for _ in range(3):
            reading = asyncio.ensure_future(transport.read())
            await asyncio.sleep(0)
            peer.send(b"data")
            reading.cancel()
            await asyncio.wait({reading})
            assert reading.cancelled()
            assert await transport.read() == b"data"

    with_peer(check)


def test_a_lost_connection_ends_who_waits_to_read_or_to_write(with_peer: Callable[[Check], None]) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        reading = asyncio.ensure_future(transport.read())
        writing = asyncio.ensure_future(transport.write(bytes(4_000_000)))
        await asyncio.sleep(0.05)
        assert [reading.done(), writing.done()] == [False, False]
        peer.close()
        results = await asyncio.gather(reading, writing, return_exceptions=True)
        assert results[0] == b"" or isinstance(results[0], OSError)
        assert isinstance(results[1], OSError)
        with pytest.raises(ConnectionError):
            await transport.write(b"more")

    with_peer(check)


def test_close_ends_who_waits_to_read_or_to_write(with_peer: Callable[[Check], None]) -> None:
    async def check(transport: SocketTransport, peer: socket.socket) -> None:
        reading = asyncio.ensure_future(transport.read())
        writing = asyncio.ensure_future(transport.write(bytes(4_000_000)))
        await asyncio.sleep(0.05)
        await transport.close()
        results = await asyncio.gather(reading, writing, return_exceptions=True)
        assert results[0] == b""
        assert isinstance(results[1], ConnectionResetError)
        await transport.close()

    with_peer(check)
