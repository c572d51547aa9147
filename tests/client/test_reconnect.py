"""A link that is lost comes back where that was asked for, and never otherwise."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.client import (
    ConnectError,
    ConnectionLostError,
    GuestTimeoutError,
    MockTransport,
    connect,
    connect_sync,
)
from tests.client.conftest import Talk
from tests.support import AgentProcess


def restart(agent: AgentProcess) -> None:
    agent.process.kill()
    agent.restart()


def test_calls_go_on_when_the_agent_was_started_again(tmp_path: Path) -> None:
    async def conversation() -> None:
        with AgentProcess(tmp_path) as agent:
            async with connect(f"unix:{agent.socket_path}", reconnect=20) as guest:
                assert await guest.ping() == __version__
                for _ in range(3):
                    restart(agent)
                    await asyncio.wait_for(_until_lost(guest.wait_closed), 10)
                    assert not guest.closed
                    answers = await asyncio.gather(*(guest.with_timeout(10).ping() for _ in range(10)))
                    assert answers == [__version__] * 10
            assert guest.closed
            with pytest.raises(ConnectionLostError):
                await guest.ping()

    asyncio.run(conversation())


async def _until_lost(wait: object) -> None:
    with pytest.raises(ConnectionLostError):
        await wait()  # type: ignore[operator]


def test_streams_work_over_the_new_connection(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with AgentProcess(tmp_path) as agent, connect_sync(str(agent.socket_path), reconnect=20) as guest:
        for _ in range(2):
            with guest.open(str(tmp_path / "file")) as file:
                assert file.read() == b"text"
            with guest.listen() as listener, guest.connect("127.0.0.1", listener.port) as stream:
                accepted = listener.accept()
                accepted.write(b"hello")
                assert stream.read_chunk() == b"hello"
            restart(agent)
            with pytest.raises(ConnectionLostError):
                guest.wait_closed()


def test_a_call_under_way_is_not_made_twice(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, connect_sync(str(agent.socket_path), reconnect=20) as guest:
        threading.Timer(0.3, agent.process.kill).start()
        with pytest.raises(ConnectionLostError) as caught:
            guest.run(["sleep", "10"])
        agent.restart()
        assert guest.ping() == __version__
        assert caught.value.request is not None
        assert caught.value.request.execute == "exec"


def test_a_guest_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    agents = []
    starting = threading.Timer(0.5, lambda: agents.append(AgentProcess(tmp_path)))
    starting.start()
    try:
        with connect_sync(str(tmp_path / "agent.sock"), reconnect=20) as guest:
            assert guest.ping() == __version__
    finally:
        starting.join()
        for agent in agents:
            agent.__exit__()


def test_patience_comes_to_an_end_and_says_what_was_wrong(talk: Talk, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ConnectError, match="no such socket"):
        talk(f"{tmp_path}/none.sock", "ping", options={"reconnect": 0.3})
    assert 0.2 < time.monotonic() - start < 30


def test_a_guest_that_does_not_answer_is_a_time_out(talk: Talk, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/mute.sock")
        listener.listen()
        with pytest.raises(GuestTimeoutError):
            talk(f"{tmp_path}/mute.sock", "ping", options={"reconnect": 0.3})


def test_a_transport_can_be_used_once(talk: Talk) -> None:
    with pytest.raises(ValueError, match="give an endpoint"):
        talk(MockTransport({"ping": "1.0"}), "ping", options={"reconnect": 1})


@pytest.mark.parametrize("by_closing", [True, False])
def test_an_attempt_ends_with_its_caller_and_with_the_guest(tmp_path: Path, by_closing: bool) -> None:
    async def conversation() -> None:
        with AgentProcess(tmp_path) as agent:
            async with connect(str(agent.socket_path), reconnect=60) as guest:
                agent.process.kill()
                await _until_lost(guest.wait_closed)
                call = asyncio.create_task(guest.ping())
                await asyncio.sleep(0.2)
                if by_closing:
                    await guest.close()
                else:
                    call.cancel()
                with pytest.raises(ConnectionLostError if by_closing else asyncio.CancelledError):
                    await asyncio.wait_for(call, 10)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())
