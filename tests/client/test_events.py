"""`guest.events()` and `guest.wait_for()`: real agents that restart, and guests that lie."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    CommandError,
    ConnectionLostError,
    GuestTimeoutError,
    MockTransport,
    ProtocolError,
    connect,
    connect_sync,
)
from phoenix_ga.wire.messages import Request
from tests.ends.client import encode_frame
from tests.support import AgentProcess, wait_for

TIMEOUT = 60


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test of asyncio in a loop of its own."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**arguments), TIMEOUT))

    return run


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as process:
        yield process


def endpoint(agent: AgentProcess) -> str:
    return f"unix:{agent.socket_path}"


@in_loop
async def test_events_arrive_in_their_order(agent: AgentProcess) -> None:
    async with connect(endpoint(agent)) as guest, guest.events("PROGRAM_ENDED") as events:
        assert events.unavailable == {}
        for status in range(3):
            process = await guest.exec(["sh", "-c", f"exit {status}"], detach=True)
            await process.wait()
        for status in range(3):
            event = await events.__anext__()
            assert (event.name, event.data["status"]) == ("PROGRAM_ENDED", status)
            assert abs(event.timestamp - time.time()) < TIMEOUT


@in_loop
async def test_what_may_have_been_missed_is_said(agent: AgentProcess) -> None:
    async with connect(endpoint(agent), reconnect=TIMEOUT) as guest, guest.events("PROGRAM_ENDED") as events:
        agent.stop()
        lost = await events.__anext__()
        # Either the agent says so, or its socket is closed.
        assert (lost.name, list(lost.data)) == ("CONNECTION_LOST", ["reason"])
        restart = threading.Thread(target=agent.restart)
        restart.start()
        restored = await events.__anext__()
        restart.join()
        assert restored.name == "CONNECTION_RESTORED"
        assert restored.data == {"agent_restarted": True, "guest_booted": False}
        await (await guest.exec(["true"], detach=True)).wait()
        assert (await events.__anext__()).name == "PROGRAM_ENDED"


@in_loop
async def test_without_reconnect_the_loss_is_an_error(agent: AgentProcess) -> None:
    async with connect(endpoint(agent)) as guest, guest.events() as events:
        agent.stop()
        with pytest.raises(ConnectionLostError):
            async for _ in events:
                pass


@in_loop
async def test_an_unknown_event_is_refused(agent: AgentProcess) -> None:
    async with connect(endpoint(agent)) as guest:
        with pytest.raises(CommandError, match="there is no event 'FLOOD'"):
            await guest.events("FLOOD")


def test_without_asyncio(agent: AgentProcess, tmp_path: Path) -> None:
    with connect_sync(endpoint(agent)) as guest:
        with guest.events("PROGRAM_ENDED") as events:
            guest.exec(["true"], detach=True).wait()
            assert next(events).data["argv"] == ["true"]
        assert guest.wait_for(f"path={tmp_path}") == {f"path={tmp_path}": str(tmp_path)}
        with guest.waiting("load<0", "load<100000", any=True) as waiting:
            assert [each.condition for each in waiting] == ["load<100000"]


@in_loop
async def test_a_wait_has_a_time_limit(agent: AgentProcess, tmp_path: Path) -> None:
    async with connect(endpoint(agent)) as guest:
        with pytest.raises(GuestTimeoutError, match=r"not fulfilled within 0\.2 s: load<0"):
            await guest.wait_for(f"path={tmp_path}", "load<0", timeout=0.2)
        # The stream is reset in the guest.
        wait_for(lambda: not agent.open_files(Path("/proc")))
        assert await guest.ping()


def answering(lines: bytes) -> MockTransport:
    def answer(request: Request) -> bytes:
        value = {"stream": 7, "agent": "1-1", "boot": "x", "unavailable": []}
        text = json.dumps({"return": value, "tag": request.tag}).encode() + b"\n"
        return text + encode_frame(1, 7, lines)

    return MockTransport({"events": answer})


GOOD: dict[str, Any] = {"event": "X", "data": {}, "timestamp": {"seconds": 1, "microseconds": 500_000}}


@in_loop
async def test_an_event_of_a_later_agent_is_passed_on() -> None:
    async with connect(answering(json.dumps(GOOD).encode() + b"\n")) as guest, guest.events() as events:
        event = await events.__anext__()
        assert (event.name, event.data, event.timestamp) == ("X", {}, 1.5)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"x" * 70_000,
        json.dumps({**GOOD, "event": 7}).encode(),
        json.dumps({**GOOD, "event": "x" * 101}).encode(),
        json.dumps({**GOOD, "data": []}).encode(),
        json.dumps({**GOOD, "timestamp": 5}).encode(),
        json.dumps({**GOOD, "timestamp": {"seconds": 1e300, "microseconds": 0}}).encode(),
        json.dumps({**GOOD, "timestamp": {"seconds": 10**30, "microseconds": 0}}).encode(),
    ],
)
@in_loop
async def test_a_hostile_guest_is_not_believed(line: bytes) -> None:
    async with connect(answering(line + b"\n")) as guest, guest.events() as events:
        with pytest.raises(ProtocolError):
            await events.__anext__()
