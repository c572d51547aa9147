"""Calls: answers find those who wait, and whatever goes wrong has a name."""

from __future__ import annotations

import asyncio
import errno
import inspect
import time
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.client import (
    HANG_UP,
    SILENCE,
    Guest,
    GuestError,
    GuestRefused,
    GuestTimeout,
    LinkLost,
    MockTransport,
    ProtocolViolation,
    SyncGuest,
    connect,
    connect_sync,
)
from phoenix_ga.wire.commands import BY_NAME, COMMANDS
from phoenix_ga.wire.messages import Request, encode_return
from tests.client.conftest import Talk


def _commands(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_there_is_a_typed_method_for_every_command() -> None:
    assert {command.name.replace("-", "_") for command in COMMANDS} <= _commands(Guest)


def test_the_sync_face_has_every_method() -> None:
    assert _commands(SyncGuest) == _commands(Guest)
    for name in _commands(SyncGuest):
        assert getattr(SyncGuest, name).__doc__


def test_a_real_agent_answers(talk: Talk, endpoint: str) -> None:
    assert talk(endpoint, "ping") == __version__
    assert talk(endpoint.partition(":")[2], "get_commands") == tuple(sorted(BY_NAME))
    assert talk(endpoint, "execute", "ping") == __version__
    assert talk(endpoint, "get_freeze_status") is False
    assert talk(endpoint, "sysinfo").kernel.system == "Linux"
    assert "lo" in [interface.name for interface in talk(endpoint, "get_netifaces")]
    assert isinstance(talk(endpoint, "get_route_list"), tuple)
    assert "passwd" in [entry.name for entry in talk(endpoint, "directory_list", "/etc")]
    assert talk(endpoint, "file_stat", "/").is_directory


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_every_command_is_understood(talk: Talk, command: Any) -> None:
    example = command.examples[0] if command.examples else None
    arguments = dict(example.arguments) if example else {"handle_id": 7}
    answer = example.answer if example else True
    if command.name == "file-read":
        answer = {"bufb64": "aGk=", "eof": False}
    if command.name == "exec-attach":
        arguments, answer = {"pid": 4711}, {"pid": 4711, "argv": ["cat"], "window": 10, "stream": 5, "stderr": 6}
    transport = MockTransport({command.name: answer, "sync": _echo_sync})
    names = {"handle_id": "handle", "bufb64": "data"}
    given = {names.get(name, name): value for name, value in arguments.items()}
    if "data" in given:
        given["data"] = b"Hello, world!"
    talk(transport, command.name.replace("-", "_"), **given)
    asked = transport.requests[-1]
    assert asked.execute == command.name
    assert command.bind(asked.arguments) == command.bind(arguments)


def _echo_sync(request: Request) -> bytes:
    return b"\xff" + b"".join(encode_return(request.arguments["id"], request.tag))


def test_a_thousand_calls_at_once_each_get_their_own_answer(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            paths = ["/", "/etc", "/usr", "/nowhere"] * 250
            results = await asyncio.gather(*map(guest.file_stat, paths), return_exceptions=True)
            for path, result in zip(paths, results):
                if path == "/nowhere":
                    assert isinstance(result, FileNotFoundError)
                else:
                    assert not isinstance(result, BaseException)
                    assert result.name == (path.strip("/") or "/")

    asyncio.run(conversation())


def test_answers_in_another_order_than_the_requests() -> None:
    async def conversation() -> None:
        asked: list[Request] = []

        def hold(request: Request) -> Any:
            asked.append(request)
            if len(asked) < 3:
                return SILENCE
            return b"".join(b"".join(encode_return(each.arguments["path"], each.tag)) for each in reversed(asked))

        async with connect(MockTransport({"get-file-md5sum": hold})) as guest:
            assert await asyncio.gather(*map(guest.get_file_md5sum, "abc")) == ["a", "b", "c"]

    asyncio.run(conversation())


@pytest.mark.parametrize(
    ("code", "builtin"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.EEXIST, FileExistsError),
        (errno.EISDIR, IsADirectoryError),
        (errno.EBUSY, OSError),
        (10**50, OSError),
    ],
)
def test_a_refusal_is_also_the_builtin_error_of_its_code(talk: Talk, code: int, builtin: type[OSError]) -> None:
    transport = MockTransport({"file-stat": GuestRefused("in my words", code)})
    with pytest.raises(GuestRefused) as caught:
        talk(transport, "file_stat", "/x")
    assert isinstance(caught.value, builtin)
    assert (caught.value.text, caught.value.code, caught.value.errno) == ("in my words", code, code)
    assert caught.value.request is not None
    assert caught.value.request.arguments["path"] == "/x"
    assert str(caught.value) == "file-stat: in my words"


@pytest.mark.parametrize("code", [-1, 0])
def test_a_refusal_without_a_code_is_no_os_error(talk: Talk, code: int) -> None:
    with pytest.raises(GuestRefused) as caught:
        talk(MockTransport({"ping": GuestRefused("no", code)}), "ping")
    assert not isinstance(caught.value, OSError)
    assert caught.value.errno is None


def test_a_call_without_an_answer_times_out_and_the_next_is_served() -> None:
    async def conversation() -> None:
        late: list[Request] = []

        def keep(request: Request) -> Any:
            late.append(request)
            return SILENCE

        transport = MockTransport({"ping": keep, "get-freeze-status": True})
        async with connect(transport, timeout=0.05) as guest:
            with pytest.raises(TimeoutError, match="no answer within") as caught:
                await guest.ping()
            assert isinstance(caught.value, GuestTimeout)
            transport.feed(b"".join(encode_return("too late", late[0].tag)))
            assert await guest.get_freeze_status() is True

    asyncio.run(conversation())


def test_time_outs_in_all_their_forms(talk: Talk) -> None:
    start = time.monotonic()
    for options, named in (({"timeout": 0.05}, {}), ({"timeout": None}, {"timeout": 0.05})):
        with pytest.raises(GuestTimeout):
            talk(MockTransport({"ping": SILENCE}), "execute", "ping", options=options, **named)
    with connect_sync(MockTransport({"ping": SILENCE})) as guest, pytest.raises(GuestTimeout):
        guest.with_timeout(0.05).ping()
    assert time.monotonic() - start < 5


def test_a_link_that_dies_under_a_call(talk: Talk) -> None:
    with pytest.raises(LinkLost) as caught:
        talk(MockTransport({"ping": HANG_UP}), "ping")
    assert caught.value.request is not None
    assert caught.value.request.execute == "ping"


def test_after_the_link_died_every_call_says_so_at_once() -> None:
    async def conversation() -> None:
        async with connect(MockTransport({"ping": SILENCE, "sysinfo": HANG_UP})) as guest:
            results = await asyncio.gather(guest.ping(), guest.ping(), guest.sysinfo(), return_exceptions=True)
            assert [type(result) for result in results] == [LinkLost] * 3
            assert guest.closed
            with pytest.raises(LinkLost):
                await guest.ping()

    asyncio.run(conversation())


def test_a_real_agent_that_is_killed_under_a_call(tmp_path: Any) -> None:
    from tests.support import AgentProcess

    with AgentProcess(tmp_path) as agent, connect_sync(str(agent.socket_path)) as guest:
        guest.ping()
        agent.process.kill()
        with pytest.raises(LinkLost):
            guest.ping()


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def conversation() -> None:
        async with connect(MockTransport({"ping": SILENCE, "get-freeze-status": False})) as guest:
            call = asyncio.create_task(guest.ping())
            await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert "0 waiting" in repr(guest)
            assert await guest.get_freeze_status() is False
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())


def test_a_cancelled_connect_closes_the_transport() -> None:
    async def conversation() -> None:
        transport = MockTransport(deaf_to=9)
        opening = asyncio.create_task(connect(transport).__aenter__())
        await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert transport.closed
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())


class JammedTransport(MockTransport):
    """The guest reads nothing after the handshake."""

    async def write(self, data: bytes) -> None:
        if b'"sync"' in data:
            await super().write(data)
        else:
            await asyncio.Event().wait()


def test_a_guest_that_does_not_read_is_no_trap(talk: Talk) -> None:
    with pytest.raises(GuestTimeout):
        talk(JammedTransport(), "ping", options={"timeout": 0.05})


def test_the_wire_can_be_watched() -> None:
    seen: list[tuple[str, bytes]] = []
    with connect_sync(MockTransport({"ping": "1.0"}), trace=lambda *event: seen.append(event)) as guest:
        guest.ping()
    assert [direction for direction, _ in seen] == ["sent", "received"] * 2
    assert b'"ping"' in seen[2][1]


def test_all_errors_have_one_base() -> None:
    for kind in (GuestRefused, GuestTimeout, LinkLost, ProtocolViolation):
        assert issubclass(kind, GuestError)


@pytest.mark.parametrize("turns", range(8))
def test_a_caller_that_is_cancelled_just_when_its_answer_comes_is_cancelled(turns: int) -> None:
    async def conversation() -> None:
        transport = MockTransport({"ping": SILENCE})
        async with connect(transport) as guest:

            async def call_and_go_on() -> None:
                await guest.ping()
                await asyncio.sleep(60)

            task = asyncio.create_task(call_and_go_on())
            while not transport.requests:
                await asyncio.sleep(0)
            transport.feed(b"".join(encode_return(__version__, transport.requests[0].tag)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 2)

    asyncio.run(conversation())
