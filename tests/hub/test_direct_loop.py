"""Sockets that are read and written in place of asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from phoenix_ga.hub.direct_loop import DirectSocket, run_directly


class Pair:
    """A socket that is used directly, and its other end."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ends = 0

    async def open(self) -> Pair:
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        self.direct = DirectSocket(self.transport, self.receive, self.end)
        return self

    def receive(self, data: bytes) -> None:
        self.received.append(data)
        if data == b"raise":
            raise ValueError("on purpose")

    def end(self) -> None:
        self.ends += 1

    async def wait_for(self, data: bytes) -> None:
        while b"".join(self.received) != data:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.direct.stop()
        self.transport.abort()
        self.peer.close()


def run(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(story, 60)

    run_directly(limited())


def test_bytes_are_received_and_the_end_is_told_once() -> None:
    async def story() -> None:
        pair = await Pair().open()
        pair.peer.send(b"hello")
        await pair.wait_for(b"hello")
        pair.direct.pause()
        pair.peer.send(b" you")
        await asyncio.sleep(0.05)
        assert pair.received == [b"hello"]
        pair.direct.resume()
        await pair.wait_for(b"hello you")
        pair.peer.close()
        while not pair.ends:
            await asyncio.sleep(0.01)
        pair.direct.resume()
        await asyncio.sleep(0.05)
        assert pair.ends == 1
        pair.close()

    run(story())


def test_what_the_socket_has_no_room_for_is_written_later_and_in_order() -> None:
    async def story() -> None:
        pair = await Pair().open()
        content = bytes(range(256)) * 40_000
        assert pair.direct.write_now((content[:100], memoryview(content)[100:]))
        assert not pair.direct.write_now((b"too early",))
        found = b""
        while len(found) < len(content):
            try:
                found += pair.peer.recv(1_000_000)
            except BlockingIOError:
                await asyncio.sleep(0.01)
        assert found == content
        assert pair.direct.write_now((b"next",))
        pair.close()

    run(story())


def test_timers_and_threads_are_served_while_a_socket_is_busy() -> None:
    async def story() -> None:
        pair = await Pair().open()
        count = 0

        def reply(data: bytes) -> None:
            """Let the next byte arrive at once, for ever."""
            nonlocal count
            count += 1
            pair.peer.send(data)

        busy = DirectSocket(pair.transport, reply, pair.end)
        pair.direct.stop()
        pair.peer.send(b".")
        for _ in range(5):
            await asyncio.sleep(0.01)
        before = count
        assert await asyncio.get_running_loop().run_in_executor(None, sum, (1, 2)) == 3
        await asyncio.sleep(0.01)
        assert count > before > 0
        busy.stop()
        pair.close()

    run(story())


def test_an_error_of_the_receiver_closes_its_socket_only(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        bad, good = await Pair().open(), await Pair().open()
        bad.peer.send(b"raise")
        while not bad.transport.is_closing():
            await asyncio.sleep(0.01)
        good.peer.send(b"hello")
        await good.wait_for(b"hello")
        good.close()
        bad.close()

    run(story())
    assert "on purpose" in caplog.text


def test_an_exception_ends_the_run_and_its_tasks() -> None:
    ended = []

    async def other() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def story() -> None:
        task = asyncio.ensure_future(other())
        await asyncio.sleep(0)
        raise OSError(f"stop {task.done()}")

    with pytest.raises(OSError, match="stop False"):
        run_directly(story())
    assert ended == [True]
