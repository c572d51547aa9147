"""A peer that is gone, silent or hostile while the client waits: the wait ends, and a living agent is left alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    SILENCE,
    ConnectionLostError,
    Guest,
    GuestProcess,
    GuestTimeoutError,
    MockTransport,
    StreamError,
    Transport,
    connect,
    connect_sync,
)
from phoenix_ga.wire.frames import DATA, RESET, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import AGENT_STOPPING, UNKNOWN_STREAM
from phoenix_ga.wire.units import Frame
from tests.ends.port import QemuPort
from tests.support import AgentProcess

INTERVAL = 0.05
TIMEOUT = 0.5
# What is not over within this time has met a wait without an end.
PATIENCE = 20.0
PROCESS = {"pid": 1, "window": 65536, "stream": 9, "stderr": 10}


def converse(
    endpoint: str | Transport,
    work: Callable[[Guest], Awaitable[Any]],
    interval: float | None = INTERVAL,
    **options: Any,
) -> Any:
    """Do `work` with a guest, and see that it ends and leaves no task."""

    async def conversation() -> Any:
        given = {"timeout": None, "keepalive_timeout": TIMEOUT, **options}
        async with connect(endpoint, keepalive_interval=interval, **given) as guest:
            return await work(guest)

    async def alone() -> Any:
        try:
            return await asyncio.wait_for(conversation(), PATIENCE)
        finally:
            assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    return asyncio.run(alone())


def opened(value: Any, *frames: bytes) -> Callable[[Request], bytes]:
    return lambda request: b"".join([*encode_return(value, request.tag), *frames])


def reset(code: int, stream: int, text: str = "gone") -> bytes:
    payload = json.dumps({"bufb64": b64encode(text.encode()).decode(), "code": code}).encode()
    return encode_header(RESET, stream, len(payload)) + payload


async def wait_in_vain(guest: Guest) -> Any:
    async with guest.exec(["sleep", "60"]) as process:
        return await process.wait()


def asked(transport: MockTransport) -> int:
    return transport.written.count(b'"get-session"')


# With a script


def test_a_silent_guest_is_given_up_by_a_request_and_by_a_stream() -> None:
    for work in (wait_in_vain, lambda guest: guest.files.stat("/x")):
        transport = MockTransport({"exec": opened(PROCESS), "file-stat": SILENCE, "get-session": SILENCE})
        with pytest.raises(ConnectionLostError, match="has not answered") as caught:
            converse(transport, work)
        assert caught.value.request is not None
        assert asked(transport) == 1
        assert transport.closed


def test_a_guest_that_takes_no_bytes_is_given_up() -> None:
    class Full(MockTransport):
        """Has no room once a stream is open."""

        async def write(self, data: bytes) -> None:
            if data[:1] == b"\xfb" or b"get-session" in data:
                while not self.closed:
                    await asyncio.sleep(0.01)
                raise BrokenPipeError(errno.EPIPE, "closed")
            await super().write(data)

    async def work(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            await process.stdin.write(b"x")

    with pytest.raises(ConnectionLostError, match="has not answered"):
        converse(Full({"exec": opened(PROCESS)}), work)


def test_a_guest_that_answers_is_waited_for() -> None:
    transport = MockTransport({"exec": opened(PROCESS)})

    async def work(guest: Guest) -> None:
        waiting = asyncio.ensure_future(wait_in_vain(guest))
        while asked(transport) < 30:
            assert not waiting.done()
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting})

    converse(transport, work)
    # As far as the script is concerned, the program was all.
    assert [request.execute for request in transport.requests] == ["exec"]


def test_an_agent_that_does_not_know_the_command_is_alive() -> None:
    refused = b'{"error": {"bufb64": "bm8=", "code": -1}, "tag": %s}\n'
    transport = MockTransport(
        {"exec": opened(PROCESS), "get-session": lambda request: refused % json.dumps(request.tag).encode()}
    )

    async def work(guest: Guest) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_in_vain(guest), 3 * TIMEOUT)

    converse(transport, work)
    assert asked(transport) > 5


def test_nothing_is_asked_where_nothing_is_awaited() -> None:
    transport = MockTransport({"ping": "1", "exec": opened(PROCESS, encode_header(3, 9, 0), encode_header(3, 10, 0))})

    async def work(guest: Guest) -> None:
        async with guest.exec(["true"]):
            pass
        await guest.ping()
        # At most one: that before the first request after a while.
        before = asked(transport)
        await asyncio.sleep(10 * INTERVAL)
        assert asked(transport) == before

    converse(transport, work)


def test_a_guest_may_be_waited_for_without_asking() -> None:
    transport = MockTransport({"exec": opened(PROCESS), "get-session": SILENCE})

    async def work(guest: Guest) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_in_vain(guest), 3 * TIMEOUT)

    converse(transport, work, interval=None)
    assert asked(transport) == 0


def test_another_session_ends_all_waits() -> None:
    transport = MockTransport({"exec": opened(PROCESS), "file-stat": SILENCE, "get-session": 5})

    async def work(guest: Guest) -> None:
        ends = await asyncio.gather(wait_in_vain(guest), guest.files.stat("/x"), return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLostError, ConnectionLostError]
        assert "no longer knows" in str(ends[0])

    converse(transport, work)


@pytest.mark.parametrize("answer", [None, True, "x", [], {}, 1.5, -1, 10**300], ids=repr)
def test_an_answer_that_is_no_number_is_not_our_session(answer: Any) -> None:
    with pytest.raises(ConnectionLostError):
        converse(MockTransport({"exec": opened(PROCESS), "get-session": answer}), wait_in_vain)


def test_an_answer_that_comes_late_while_other_bytes_come_is_waited_for() -> None:
    transport = MockTransport({"exec": opened({**PROCESS, "window": 1 << 20}), "get-session": SILENCE})

    async def work(guest: Guest) -> None:
        waiting = asyncio.ensure_future(wait_in_vain(guest))
        # More in total than the guest has to answer.
        for _ in range(20):
            await asyncio.sleep(TIMEOUT / 10)
            transport.feed(encode_header(DATA, 9, 1) + b"x")
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})

    converse(transport, work)


def test_a_stream_that_the_agent_does_not_know_ends_the_connection() -> None:
    transport = MockTransport({"exec": opened(PROCESS, reset(UNKNOWN_STREAM, 10)), "file-stat": SILENCE})

    async def work(guest: Guest) -> None:
        ends = await asyncio.gather(guest.files.stat("/x"), wait_in_vain(guest), return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLostError, ConnectionLostError]

    converse(transport, work, interval=None)
    assert transport.frames == []


def test_an_agent_that_stops_ends_its_streams_and_still_answers() -> None:
    stopping = reset(AGENT_STOPPING, 9, "the agent is stopping"), reset(AGENT_STOPPING, 10)
    transport = MockTransport({"exec": opened(PROCESS, *stopping), "ping": "last words"})

    async def work(guest: Guest) -> None:
        with pytest.raises(ConnectionLostError, match="stopping"):
            await wait_in_vain(guest)
        assert await guest.ping() == "last words"

    converse(transport, work, interval=None)


class NoRoom(MockTransport):
    """Takes in requests; who sends a frame waits for room that never comes."""

    async def write(self, data: bytes) -> None:
        await super().write(data)
        if self.frames:
            await asyncio.Event().wait()


@pytest.mark.parametrize("code", [AGENT_STOPPING, errno.EIO])
def test_who_waits_for_room_in_the_connection_is_told_of_the_end_of_the_stream(code: int) -> None:
    transport = NoRoom({"exec": opened(PROCESS)}, on_frame=lambda frame: reset(code, 9, "no more"))

    async def work(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            with pytest.raises((ConnectionLostError, StreamError), match="no more"):
                await process.stdin.write(b"x")
            # A cancellation from elsewhere is still one.
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE)

    converse(transport, work, interval=None)


def test_other_resets_end_their_stream_only() -> None:
    transport = MockTransport({"exec": opened(PROCESS, reset(errno.EIO, 9)), "ping": "there"})

    async def work(guest: Guest) -> None:
        with pytest.raises(StreamError):
            await wait_in_vain(guest)
        assert await guest.ping() == "there"

    converse(transport, work, interval=None)


@pytest.mark.parametrize("code", [UNKNOWN_STREAM, AGENT_STOPPING, errno.EIO])
def test_endless_resets_of_no_stream_are_neither_answered_nor_kept(code: int) -> None:
    many = b"".join(reset(code, number) for number in range(100, 1100))

    def echo(frame: Frame) -> bytes:
        # Whatever the client sends is answered with resets; a client that answered these would never end.
        return many

    transport = MockTransport({"exec": opened(PROCESS, many), "ping": "there"}, on_frame=echo)

    async def work(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            await process.stdin.write(b"x")
            tracemalloc.start()
            for _ in range(30):
                transport.feed(many)
                assert await guest.ping() == "there"
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
            tracemalloc.stop()
            assert len(transport.frames) == 1
            assert not process.ended

    converse(transport, work, interval=None)


# With an agent behind a port of QEMU


class Scene:
    def __init__(self, directory: Path) -> None:
        self.agent = AgentProcess(directory)
        self.port = QemuPort(directory, self.agent.socket_path)

    def restart(self) -> None:
        children = self.agent.children()
        self.agent.process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.agent.restart()

    def pause(self) -> None:
        self.agent.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.agent.process.send_signal(signal.SIGCONT)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with made.agent, made.port:
        yield made


async def in_thread(work: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def started(process: GuestProcess) -> None:
    assert await process.stdout.read_chunk() == b"up\n"


UP = ["sh", "-c", "echo up; exec sleep 60"]


def test_run_ends_when_the_agent_was_restarted(scene: Scene, tmp_path: Path) -> None:
    async def work(guest: Guest) -> None:
        running = asyncio.ensure_future(guest.run(["sh", "-c", f"touch {tmp_path}/up; exec sleep 60"]))
        while not (tmp_path / "up").exists():
            await asyncio.sleep(0.01)
        await in_thread(scene.restart)
        with pytest.raises(ConnectionLostError):
            await running

    converse(scene.port.endpoint, work)


def test_run_without_asyncio_ends_when_the_agent_was_restarted(scene: Scene) -> None:
    with connect_sync(scene.port.endpoint, keepalive_interval=INTERVAL) as guest, guest.exec(UP) as process:
        assert process.stdout.read_chunk() == b"up\n"
        scene.restart()
        with pytest.raises(ConnectionLostError):
            process.wait()


def test_a_request_without_streams_ends_when_the_agent_was_restarted(scene: Scene, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    # Nobody reads what is written to it.
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)

    async def work(guest: Guest) -> None:
        handle = await guest.call("file-open", {"path": str(tmp_path / "fifo"), "mode": "w"})
        writing = asyncio.ensure_future(guest.files.write_handle(handle, bytes(1 << 20)))
        # The agent is alive, so this goes on.
        await asyncio.wait({writing}, timeout=3 * TIMEOUT)
        assert not writing.done()
        await in_thread(scene.restart)
        # Or, on a busy machine, it is not up again in time.
        with pytest.raises(ConnectionLostError, match=r"no longer knows|has not answered"):
            await writing

    try:
        converse(scene.port.endpoint, work)
    finally:
        os.close(reader)


def test_a_connection_that_was_idle_serves_the_next_agent(scene: Scene) -> None:
    async def work(guest: Guest) -> None:
        await guest.ping()
        for _ in range(2):
            await in_thread(scene.restart)
            await asyncio.sleep(2 * INTERVAL)
            async with guest.exec(UP) as process:
                await started(process)
                # Long enough to be asked about.
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), 10 * INTERVAL)

    converse(scene.port.endpoint, work)


def test_a_new_session_of_our_own_is_none_of_another(scene: Scene) -> None:
    async def work(guest: Guest) -> None:
        assert await guest.call("sync", {"id": 5}) == 5
        async with guest.exec(UP) as process:
            await started(process)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 10 * INTERVAL)

    converse(scene.port.endpoint, work)


def test_a_paused_guest_is_given_up_unless_more_time_is_given(scene: Scene) -> None:
    async def lose(guest: Guest) -> None:
        async with guest.exec(UP) as process:
            await started(process)
            scene.pause()
            try:
                with pytest.raises(ConnectionLostError, match="has not answered"):
                    await process.wait()
            finally:
                scene.resume()

    converse(scene.port.endpoint, lose)

    async def go_on(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            await process.stdin.write(b"up\n")
            await started(process)
            scene.pause()
            await asyncio.sleep(3 * TIMEOUT)
            scene.resume()
            await process.stdin.write(b"up\n")
            await started(process)

    converse(scene.port.endpoint, go_on, keepalive_timeout=PATIENCE)


def test_a_client_that_was_stopped_itself_does_not_blame_the_guest(scene: Scene) -> None:
    async def work(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            for _ in range(3):
                # Nothing is read meanwhile, as if this process had got SIGSTOP just after it had asked.
                await asyncio.sleep(INTERVAL * 1.05)
                time.sleep(2 * TIMEOUT)
            await process.stdin.write(b"up\n")
            await started(process)

    converse(scene.port.endpoint, work)


def test_the_user_s_own_limit_comes_first() -> None:
    transport = MockTransport({"file-stat": SILENCE, "get-session": SILENCE})
    with pytest.raises(GuestTimeoutError):
        converse(transport, lambda guest: guest.files.stat("/x"), timeout=INTERVAL)
