"""Connections into the guest and out of it: all bytes arrive, and each direction ends by itself."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from phoenix_ga.client import Guest, StreamError, connect, connect_sync
from tests.client.conftest import Talk
from tests.support import AgentProcess, wait_for

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def converse(endpoint: str, conversation: Callable[[Guest], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with connect(endpoint) as guest:
            await conversation(guest)
        assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    asyncio.run(connected())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all back, and say so at the end of what came."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"the end")
    writer.close()


@pytest.mark.parametrize("kind", ["127.0.0.1", "::1", "localhost", "path"])
def test_bytes_go_both_ways_and_each_way_ends_by_itself(endpoint: str, tmp_path: Path, kind: str) -> None:
    async def conversation(guest: Guest) -> None:
        if kind == "path":
            server: asyncio.Server = await asyncio.start_unix_server(echo, tmp_path / "socket")
            reader, writer = await guest.connect(path=str(tmp_path / "socket"))
        else:
            server = await asyncio.start_server(echo, kind, 0)
            reader, writer = await guest.connect(kind, server.sockets[0].getsockname()[1])
        async with server:
            data = os.urandom(5_000_000)
            writing = asyncio.create_task(write(writer, data))
            assert await reader.readexactly(len(data)) == data
            await writing
            assert await reader.read() == b"the end"
            writer.close()
            await writer.wait_closed()

    converse(endpoint, conversation)


async def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    writer.write_eof()


def test_nobody_listens(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1 port 1"):
        talk(endpoint, "connect_stream", "127.0.0.1", 1)
    with pytest.raises(FileNotFoundError):
        talk(endpoint, "connect_stream", path=str(tmp_path / "none"))
    with pytest.raises(OSError, match=r"no\.such\.host"):
        talk(endpoint, "connect_stream", "no.such.host.invalid", 80)
    for wrong in ({}, {"host": "x"}, {"host": "x", "port": 1, "path": "/x"}):
        with pytest.raises(OSError, match="give either"):
            talk(endpoint, "connect_stream", **wrong)


def test_a_peer_that_breaks_off_is_a_broken_connection(endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            reader, writer = await guest.connect("127.0.0.1", server.getsockname()[1])
            peer, _ = server.accept()
            # Bytes that nobody reads make closing a reset.
            writer.write(b"unread")
            await asyncio.sleep(0.1)
            peer.close()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)

    converse(endpoint, conversation)


def test_a_peer_that_does_not_read_stops_its_own_stream_only(agent: AgentProcess, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            stream = await guest.connect_stream("127.0.0.1", server.getsockname()[1])
            peer, _ = server.accept()
            before = agent.memory()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.write(bytes(50_000_000)), 1)
            assert agent.memory() - before < 4 << 20
            assert await guest.ping()
            peer.close()

    converse(endpoint, conversation)


@pytest.mark.parametrize("kind", ["tcp", "path"])
def test_connections_made_in_the_guest_come_to_the_host(endpoint: str, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "socket") if kind == "path" else ""

    async def conversation(guest: Guest) -> None:
        async with guest.listen(path=path) as listener:
            for number in range(3):
                if path:
                    reader, writer = await asyncio.open_unix_connection(path)
                else:
                    reader, writer = await asyncio.open_connection(listener.host, listener.port)
                accepted = await listener.__anext__()
                if not path:
                    assert (accepted.host, accepted.port) == writer.get_extra_info("sockname")
                data = os.urandom(1_000_000 * number)
                work = (echo(accepted.reader, accepted.writer), write(writer, data), reader.read())
                assert (await asyncio.gather(*work))[2] == data + b"the end"
                writer.close()
        # What ended the listening is on its way.
        await guest.ping()
        again = asyncio.open_unix_connection(path) if path else asyncio.open_connection(listener.host, listener.port)
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            await again

    converse(endpoint, conversation)


def test_without_asyncio(endpoint: str) -> None:
    with connect_sync(endpoint) as guest, guest.listen() as listener:
        thread = threading.Thread(target=lambda: answers.append(ask(listener.port)))
        answers: list[bytes] = []
        thread.start()
        with listener.accept() as stream:
            assert stream.read_chunk() == b"question"
            stream.write(b"answer")
            stream.end()
            thread.join()
        assert answers == [b"answer"]


def test_without_asyncio_each_way_ends_by_itself(endpoint: str) -> None:
    data = os.urandom(5_000_000)

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            while received := peer.recv(65536):
                peer.sendall(received)
            peer.sendall(b"the end")

    with socket.create_server(("127.0.0.1", 0)) as server, connect_sync(endpoint) as guest:
        serving = threading.Thread(target=serve, args=(server,))
        serving.start()
        with guest.connect("127.0.0.1", server.getsockname()[1]) as stream:

            def write_all() -> None:
                stream.write(data)
                stream.end()

            writing = threading.Thread(target=write_all)
            writing.start()
            assert stream.read_all() == data + b"the end"
            writing.join()
        serving.join()


def test_without_asyncio_a_peer_that_breaks_off_is_a_broken_stream(endpoint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, connect_sync(endpoint) as guest:
        stream = guest.connect("127.0.0.1", server.getsockname()[1])
        peer, _ = server.accept()
        stream.write(b"unread")
        wait_for(lambda: peer.recv(6, socket.MSG_PEEK) == b"unread")
        peer.close()
        with pytest.raises(StreamError):
            stream.read_all()


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"question")
        return connection.recv(100)


@pytest.mark.parametrize("rounds", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_connections_leave_nothing_behind(agent: AgentProcess, endpoint: str, rounds: int) -> None:
    async def conversation(guest: Guest) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def one() -> None:
            reader, writer = await guest.connect("127.0.0.1", port)
            writer.write(b"x" * 1000)
            writer.write_eof()
            assert len(await reader.read()) == 1007
            writer.close()
            await writer.wait_closed()

        async with server:
            for _ in range(20):
                await one()
            before = agent.memory()
            for _ in range(rounds // 20):
                await asyncio.gather(*(one() for _ in range(20)))
            assert agent.memory() - before < 2 << 20

    converse(endpoint, conversation)
