"""Calls: answers find those who wait, and whatever goes wrong has a name."""

from __future__ import annotations

import asyncio
import errno
import inspect
import time
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.dialects.qga.commands import BY_NAME as QEMU_COMMANDS
from phoenix_ga.client import (
    HANG_UP,
    SILENCE,
    CommandError,
    ConnectionLostError,
    Files,
    FileStream,
    Filesystems,
    Guest,
    GuestFile,
    GuestListener,
    GuestProcess,
    GuestTimeoutError,
    MockTransport,
    PhoenixError,
    Processes,
    ProtocolError,
    SyncFile,
    SyncFileStream,
    SyncGuest,
    SyncListener,
    SyncProcess,
    connect,
    connect_sync,
)
from phoenix_ga.client.generated.commands import NetworkCommands
from phoenix_ga.client.generated.qga import QemuCommands
from phoenix_ga.client.generated.sync import SyncFiles, SyncFilesystems, SyncNetwork, SyncProcesses, SyncQemu
from phoenix_ga.wire.commands import BY_NAME, COMMANDS, WINDOW_DEFAULT
from phoenix_ga.wire.messages import Request, encode_return
from tests.client.conftest import Talk, method_of, python_arguments
from tools import qapi_results

PAIRS = [
    (Guest, SyncGuest),
    (GuestFile, SyncFile),
    (GuestListener, SyncListener),
    (GuestProcess, SyncProcess),
    (FileStream, SyncFileStream),
    (Files, SyncFiles),
    (Filesystems, SyncFilesystems),
    (NetworkCommands, SyncNetwork),
    (Processes, SyncProcesses),
    (QemuCommands, SyncQemu),
]


def _public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("face", "sync"), PAIRS, ids=lambda kind: kind.__name__)
def test_the_sync_face_has_every_method_with_its_signature_and_docstring(face: type, sync: type) -> None:
    methods = {name: value for name, value in _public(face).items() if not inspect.ismethod(value)}
    assert set(_public(sync)) >= set(methods)
    for name in set(methods):
        there = getattr(sync, name)
        assert there.__doc__, name
        if inspect.isfunction(methods[name]):
            named = inspect.signature(methods[name]).parameters
            assert list(inspect.signature(there).parameters) == list(named), name


def test_the_result_of_every_qemu_command_is_declared() -> None:
    assert qapi_results.RESULTS.keys() == QEMU_COMMANDS.keys()


def test_a_real_agent_answers(talk: Talk, endpoint: str) -> None:
    assert talk(endpoint, "ping") == __version__
    assert talk(endpoint.partition(":")[2], "commands") == tuple(sorted(BY_NAME))
    assert talk(endpoint, "call", "ping") == __version__
    assert talk(endpoint, "filesystems.status").frozen is False
    assert talk(endpoint, "sysinfo").kernel.system == "Linux"
    assert "lo" in [interface.name for interface in talk(endpoint, "network.interfaces")]
    assert isinstance(talk(endpoint, "network.routes"), tuple)
    assert "passwd" in [entry.name for entry in talk(endpoint, "files.list", "/etc")]
    assert talk(endpoint, "files.stat", "/").is_directory


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_every_command_is_understood(talk: Talk, command: Any) -> None:
    example = command.examples[-1 if command.name == "get-freeze-status" else 0] if command.examples else None
    arguments = dict(example.arguments) if example else {"handle_id": 7}
    answer = example.answer if example else True
    if command.name == "file-read":
        answer = {"bufb64": "aGk=", "eof": False}
    if command.name == "exec-attach":
        arguments, answer = {"pid": 4711}, {"pid": 4711, "argv": ["cat"], "window": 10, "stream": 5, "stderr": 6}
    transport = MockTransport({command.name: answer, "sync": _echo_sync})
    if command.name in ("sync", "get-session"):
        talk(transport, "call", command.name, arguments)
    else:
        talk(transport, method_of(command), **python_arguments(command, arguments))
    if command.name == "file-write":
        arguments["bufb64"] = "ZGF0YQ=="
    if command.name in ("wait-for", "events"):
        arguments = {"conditions" if command.name == "wait-for" else "names": [], "window": WINDOW_DEFAULT}
    asked = transport.requests[-1]
    assert asked.execute == command.name
    assert command.bind(asked.arguments) == command.bind(arguments)


def _echo_sync(request: Request) -> bytes:
    return b"\xff" + b"".join(encode_return(request.arguments["id"], request.tag))


def test_a_thousand_calls_at_once_each_get_their_own_answer(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            paths = ["/", "/etc", "/usr", "/nowhere"] * 250
            results = await asyncio.gather(*map(guest.files.stat, paths), return_exceptions=True)
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
            assert await asyncio.gather(*map(guest.files.md5, "abc")) == ["a", "b", "c"]

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
    transport = MockTransport({"file-stat": CommandError("in my words", code)})
    with pytest.raises(CommandError) as caught:
        talk(transport, "files.stat", "/x")
    assert isinstance(caught.value, builtin)
    assert (caught.value.text, caught.value.code, caught.value.errno) == ("in my words", code, code)
    assert caught.value.request is not None
    assert caught.value.request.arguments["path"] == "/x"
    assert str(caught.value) == "file-stat: in my words"


@pytest.mark.parametrize("code", [-1, 0])
def test_a_refusal_without_a_code_is_no_os_error(talk: Talk, code: int) -> None:
    with pytest.raises(CommandError) as caught:
        talk(MockTransport({"ping": CommandError("no", code)}), "ping")
    assert not isinstance(caught.value, OSError)
    assert caught.value.errno is None


def test_a_call_without_an_answer_times_out_and_the_next_is_served() -> None:
    async def conversation() -> None:
        late: list[Request] = []

        def keep(request: Request) -> Any:
            late.append(request)
            return SILENCE

        transport = MockTransport({"ping": keep, "get-commands": ["ping"]})
        async with connect(transport, timeout=0.05) as guest:
            with pytest.raises(TimeoutError, match="no answer within") as caught:
                await guest.ping()
            assert isinstance(caught.value, GuestTimeoutError)
            transport.feed(b"".join(encode_return("too late", late[0].tag)))
            assert await guest.commands() == ("ping",)

    asyncio.run(conversation())


def test_time_outs_in_all_their_forms(talk: Talk) -> None:
    start = time.monotonic()
    for options, named in (({"timeout": 0.05}, {}), ({"timeout": None}, {"timeout": 0.05})):
        with pytest.raises(GuestTimeoutError):
            talk(MockTransport({"ping": SILENCE}), "call", "ping", options=options, **named)
    with connect_sync(MockTransport({"ping": SILENCE})) as guest, pytest.raises(GuestTimeoutError):
        guest.with_timeout(0.05).ping()
    assert time.monotonic() - start < 30


def test_a_link_that_dies_under_a_call(talk: Talk) -> None:
    with pytest.raises(ConnectionLostError) as caught:
        talk(MockTransport({"ping": HANG_UP}), "ping")
    assert caught.value.request is not None
    assert caught.value.request.execute == "ping"


def test_after_the_link_died_every_call_says_so_at_once() -> None:
    async def conversation() -> None:
        async with connect(MockTransport({"ping": SILENCE, "sysinfo": HANG_UP})) as guest:
            results = await asyncio.gather(guest.ping(), guest.ping(), guest.sysinfo(), return_exceptions=True)
            assert [type(result) for result in results] == [ConnectionLostError] * 3
            assert guest.closed
            with pytest.raises(ConnectionLostError):
                await guest.ping()

    asyncio.run(conversation())


def test_a_real_agent_that_is_killed_under_a_call(tmp_path: Any) -> None:
    from tests.support import AgentProcess

    with AgentProcess(tmp_path) as agent, connect_sync(str(agent.socket_path)) as guest:
        guest.ping()
        agent.process.kill()
        with pytest.raises(ConnectionLostError):
            guest.ping()


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def conversation() -> None:
        async with connect(MockTransport({"ping": SILENCE, "get-commands": []})) as guest:
            call = asyncio.create_task(guest.ping())
            await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert "0 pending" in repr(guest)
            assert await guest.commands() == ()
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
    with pytest.raises(GuestTimeoutError):
        talk(JammedTransport(), "ping", options={"timeout": 0.05})


def test_the_wire_can_be_watched() -> None:
    seen: list[tuple[str, bytes]] = []
    with connect_sync(MockTransport({"ping": "1.0"}), trace=lambda *event: seen.append(event)) as guest:
        guest.ping()
    assert [direction for direction, _ in seen] == ["sent", "received"] * 2
    assert b'"ping"' in seen[2][1]


def test_all_errors_have_one_base() -> None:
    for kind in (CommandError, GuestTimeoutError, ConnectionLostError, ProtocolError):
        assert issubclass(kind, PhoenixError)


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
