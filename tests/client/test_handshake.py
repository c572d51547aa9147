"""The start of a conversation, whatever an earlier client left in the port."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.client import (
    SILENCE,
    CommandError,
    ConnectError,
    ConnectionLostError,
    EndpointError,
    GuestTimeoutError,
    MockTransport,
    ProtocolError,
    connect,
)
from phoenix_ga.client.handshake import Handshake
from phoenix_ga.wire.frames import DATA, encode_header
from phoenix_ga.wire.messages import encode_return
from phoenix_ga.wire.units import resync_padding
from tests.client.conftest import Talk

LEFT_OVER = {
    "nothing": b"",
    "answers to somebody else": b'{"return": "old", "tag": "x-1"}\n' * 50,
    "half a line": b'{"return": "cut of',
    "an older sync": b'\xff{"return": 12345, "tag": "0badf00d-sync"}\n',
    "half a frame": encode_header(DATA, 1, 100_000) + b"payload" * 100,
    "bytes that are no JSON": bytes(range(256)) * 300,
    "marks only": b"\xff" * 5000,
    "a long line": b"x" * 2_000_000,
    "a bomb": b"[" * 300_000 + b"\n",
}


@pytest.mark.parametrize("left_over", LEFT_OVER.values(), ids=LEFT_OVER.keys())
def test_what_an_earlier_client_left_is_dropped(talk: Talk, left_over: bytes) -> None:
    assert talk(MockTransport({"ping": "1.0"}, left_over=left_over), "ping") == "1.0"


@pytest.mark.parametrize("left_over", LEFT_OVER.values(), ids=LEFT_OVER.keys())
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_the_answer_is_found_in_whatever_pieces_it_comes(left_over: bytes, piece: int) -> None:
    handshake = Handshake(42, "a-sync")
    data = left_over[-3000:] + b'\xff{"return": 42, "tag": "a-sync"}\nrest'
    rests = [handshake.receive(data[start : start + piece]) for start in range(0, len(data), piece)]
    found = [rest for rest in rests if rest is not None]
    assert found
    assert b"rest".startswith(found[0])


@pytest.mark.parametrize(
    "answer",
    [
        b'{"return": 42, "tag": "a-sync"}\n',
        b'\xff{"return": 43, "tag": "a-sync"}\n',
        b'\xff{"return": 42, "tag": "b-sync"}\n',
        b'\xff{"return": "42", "tag": "a-sync"}\n',
        b'\xff{"return": true, "tag": "a-sync"}\n',
        b'\xff{"return": 42}\n',
    ],
)
def test_what_only_resembles_the_answer_is_not_taken(answer: bytes) -> None:
    assert Handshake(42, "a-sync").receive(answer) is None


def test_where_no_answer_comes_padding_is_sent_and_sync_again(talk: Talk) -> None:
    transport = MockTransport({"ping": "1.0"}, deaf_to=1)
    assert talk(transport, "ping") == "1.0"
    assert resync_padding() in transport.written
    assert transport.written.count(b'"sync"') == 2


def test_a_guest_that_never_answers_is_given_up_in_time(talk: Talk) -> None:
    transport = MockTransport(deaf_to=1000)
    start = time.monotonic()
    with pytest.raises(GuestTimeoutError, match="is phoenix-ga running"):
        talk(transport, "ping", options={"connect_timeout": 0.2})
    assert time.monotonic() - start < 30
    assert transport.closed


def test_a_link_that_ends_before_the_answer(talk: Talk) -> None:
    transport = MockTransport(deaf_to=1)
    transport.hang_up()
    with pytest.raises(ConnectionLostError, match="before the agent answered"):
        talk(transport, "ping")
    assert transport.closed


def test_an_agent_that_does_not_know_sync_is_named(talk: Talk) -> None:
    with pytest.raises(ConnectError, match="update it"):
        talk(MockTransport({"sync": CommandError("no such command", -1)}), "ping")


def test_no_socket_there(talk: Talk, tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="is the guest running"):
        talk(f"unix:{tmp_path}/none.sock", "ping")


@pytest.mark.parametrize("endpoint", ["web1", "", "unix:", "tcp:1.2.3.4", "unix:\0"])
def test_words_that_say_nowhere(talk: Talk, endpoint: str) -> None:
    with pytest.raises(EndpointError):
        talk(endpoint, "ping")


def test_a_real_agent_that_was_left_inside_a_half_request(endpoint: str) -> None:
    async def conversation() -> None:
        _, writer = await asyncio.open_unix_connection(endpoint.partition(":")[2])
        writer.write(b'{"execute": "pi')
        await writer.drain()
        async with connect(endpoint) as guest:
            assert await guest.ping()
        writer.close()

    asyncio.run(conversation())


def test_bytes_without_end_are_not_listened_to_for_long() -> None:
    class Fountain(MockTransport):
        given = 0

        async def read(self) -> bytes:
            self.given += 1
            await asyncio.sleep(0)
            return b'{"return": 1}\n' * 10_000

    fountain = Fountain()

    async def conversation() -> None:
        with pytest.raises(ProtocolError, match="without the answer to sync"):
            async with connect(fountain, connect_timeout=30, line_limit=2**20):
                pass

    asyncio.run(conversation())
    assert fountain.closed
    assert fountain.given < 50


def test_who_sends_other_things_than_answers_is_told_from_who_is_silent() -> None:
    async def ask(transport: MockTransport) -> GuestTimeoutError:
        with pytest.raises(GuestTimeoutError) as caught:
            async with connect(transport, connect_timeout=1.2, timeout=0.1) as guest:
                await guest.ping()
        return caught.value

    babbling = MockTransport({"sync": b"login: \n"})
    assert asyncio.run(ask(babbling)).garbage
    assert not asyncio.run(ask(MockTransport({"sync": SILENCE}, left_over=b"login: \n"))).garbage
    assert asyncio.run(ask(MockTransport({"ping": b'{"return": "1.0", "tag": "x"}\n'}))).garbage
    assert not asyncio.run(ask(MockTransport({"ping": SILENCE}))).garbage


def test_a_late_answer_is_no_garbage() -> None:
    transport = MockTransport({"ping": SILENCE})

    async def conversation() -> None:
        async with connect(transport, timeout=0.1) as guest:
            with pytest.raises(GuestTimeoutError):
                await guest.ping()
            first = transport.requests[0]
            transport.feed(b"".join(encode_return("1.0", first.tag)))
            with pytest.raises(GuestTimeoutError) as caught:
                await guest.ping()
            assert not caught.value.garbage

    asyncio.run(conversation())


def test_a_socket_with_too_many_clients_says_so(tmp_path: Path) -> None:
    path = f"{tmp_path}/full.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)

        async def conversation() -> None:
            with pytest.raises(ConnectError, match="too many clients wait"):
                async with connect(path):
                    pass

        asyncio.run(conversation())


@pytest.fixture
def port_in_use(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A port that serves one client at a time, as QEMU's do, and the process that has it."""
    path = tmp_path / "port.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        words = [sys.executable, "-c", "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); input()"]
        with subprocess.Popen([*words, path], stdin=subprocess.PIPE) as rival:
            accepted, _ = listener.accept()
            with accepted:
                yield path, rival.pid
            rival.kill()


def test_whoever_has_the_port_is_named(talk: Talk, port_in_use: tuple[Path, int]) -> None:
    path, pid = port_in_use
    notes: list[str] = []
    with pytest.raises(GuestTimeoutError, match=rf"python\S* \(process {pid}\) uses this port") as caught:
        talk(str(path), "ping", options={"connect_timeout": 3, "on_busy": notes.append})
    assert str(path) in str(caught.value)
    (note,) = notes
    assert f"(process {pid}), which uses this port" in note


def test_a_port_that_is_silent_is_not_in_use(talk: Talk, tmp_path: Path) -> None:
    path = tmp_path / "port.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        accepted = []
        threading.Thread(target=lambda: accepted.append(listener.accept()), daemon=True).start()
        with pytest.raises(GuestTimeoutError, match="is phoenix-ga running"):
            talk(str(path), "ping", options={"connect_timeout": 2, "on_busy": pytest.fail})
    accepted[0][0].close()
