"""The API as a program uses it: connecting, context managers, streams, and exceptions that travel."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.client import (
    SILENCE,
    CommandError,
    CompletedProcess,
    ConnectError,
    ConnectionLostError,
    EndpointError,
    Guest,
    GuestTimeoutError,
    MockTransport,
    PhoenixError,
    ProcessFailedError,
    ProcessTimeoutError,
    ProtocolError,
    StreamError,
    TransferDamagedError,
    TransferIncompleteError,
    connect,
    connect_sync,
    errors,
)
from phoenix_ga.wire.messages import Request
from tests.client.conftest import Converse, Talk


def test_a_connection_is_awaited_or_entered(endpoint: str) -> None:
    async def conversation() -> None:
        guest = await connect(endpoint)
        assert await guest.ping() == __version__
        await guest.close()
        await guest.close()
        with pytest.raises(ConnectionLostError):
            await guest.ping()
        async with connect(endpoint) as guest:
            assert await guest.ping() == __version__
        async with await connect(endpoint) as guest:
            assert await guest.ping() == __version__
        guest = await asyncio.create_task(connect(endpoint))
        await guest.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())


def test_a_connection_without_asyncio_needs_no_with(endpoint: str) -> None:
    guest = connect_sync(endpoint)
    gc.collect()
    assert guest.ping() == __version__
    guest.close()
    guest.close()


def test_everything_that_is_opened_is_awaited_or_entered(converse: Converse, endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")

    async def conversation(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            await process.stdin.write(b"x")
            await process.stdin.end()
            assert await process.stdout.read() == b"x"
        process = await guest.exec(["true"])
        assert await process.wait() == 0
        async with guest.open(str(path)) as file:
            assert [line async for line in file] == [b"one\n", b"two\n"]
        file = await guest.open(str(path))
        await file.close()
        async with guest.files.get_stream(str(path)) as source:
            assert (source.size, source.permissions) == (8, path.stat().st_mode & 0o777)
            assert b"".join([chunk async for chunk in source]) == b"one\ntwo\n"
        async with guest.files.put_stream(str(tmp_path / "put"), digest=False) as sink:
            await sink.write(b"new")
            await sink.end()
            assert await sink.read() == b""
        assert (tmp_path / "put").read_bytes() == b"new"
        async with guest.files.get_tree_stream(str(tmp_path)) as tree:
            assert b"one\ntwo\n" in await tree.stream.read()
        async with guest.listen() as listener:
            stream = await guest.connect_stream("127.0.0.1", listener.port)
            accepted = await listener.accept_stream()
            await stream.write(b"12345")
            assert await accepted.read(2) == b"12"
            assert await accepted.read(100) == b"345"
            await stream.reset()

    converse(endpoint, conversation)


def test_a_connection_as_asyncio_streams_is_closed_by_its_context(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest, guest.listen() as listener:
            async with (
                guest.connect("127.0.0.1", listener.port) as (reader, writer),
                await listener.accept() as there,
            ):
                writer.write(b"hello")
                assert await there.reader.readexactly(5) == b"hello"
            assert writer.is_closing()
            assert await reader.read() == b""

    asyncio.run(conversation())


@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_reading_in_pieces_neither_loses_nor_repeats_anything(converse: Converse, endpoint: str, size: int) -> None:
    total = 3_000 if size < 100 else 3_000_000

    async def conversation(guest: Guest) -> None:
        script = f"head -c {total} /dev/zero | tr '\\0' x; printf end"
        async with guest.exec(["sh", "-c", script], window=4096 if size < 100 else 1 << 20) as process:
            pieces = []
            while piece := await process.stdout.read(size):
                assert len(piece) <= size
                pieces.append(piece)
            assert b"".join(pieces) == b"x" * total + b"end"
            assert await process.stdout.read(0) == b""

    converse(endpoint, conversation)


def test_long_lines_of_a_file_come_in_pieces(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000 + b"\nend")
    with connect_sync(endpoint) as guest, guest.open(str(tmp_path / "file")) as file:
        assert [len(line) for line in file] == [65536, 100_001 - 65536, 3]


# Programs


def test_a_command_line_in_one_string_is_refused_with_advice(talk: Talk) -> None:
    with pytest.raises(TypeError, match=re.escape("""use ["sh", "-c", 'ls -l /']""")):
        talk(MockTransport(), "run", "ls -l /")


def test_an_empty_command_line_is_refused(talk: Talk) -> None:
    with pytest.raises(ValueError, match="argv is empty"):
        talk(MockTransport(), "run", [])


def test_a_program_that_takes_too_long_leaves_its_output(talk: Talk, endpoint: str) -> None:
    argv = ["sh", "-c", "echo out; echo err >&2; sleep 60"]
    with pytest.raises(ProcessTimeoutError, match=r"sh did not end within 0\.5 s") as caught:
        talk(endpoint, "run", argv, timeout=0.5)
    assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")


def test_waiting_reads_both_outputs(converse: Converse, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        async with guest.exec(["sh", "-c", "head -c 3000000 /dev/zero >&2; exit 3"]) as process:
            assert await process.wait() == 3

    converse(endpoint, conversation)


# The QEMU Guest Agent's dialect


def test_commands_of_the_qemu_guest_agent_are_typed_methods(talk: Talk, endpoint: str) -> None:
    assert talk(endpoint, "qga.get_osinfo")["kernel-release"] == os.uname().release
    assert talk(endpoint, "qga.get_host_name") == {"host-name": os.uname().nodename}
    assert talk(endpoint, "qga.fsfreeze_status") == "thawed"
    assert talk(endpoint, "qga.ping") is None
    assert {"name": "guest-ping", "enabled": True, "success-response": True} in talk(endpoint, "qga.info")[
        "supported_commands"
    ]
    assert talk(endpoint, "call", "guest-sync", {"id": 4711}) == 4711


QUERIES = (
    "get_vcpus get_memory_block_info get_cpustats network_get_interfaces network_get_route get_fsinfo get_disks "
    "get_diskstats get_timezone get_time get_load get_users"
)


@pytest.mark.parametrize("name", QUERIES.split())
def test_the_answer_to_a_query_has_the_type_of_its_method(talk: Talk, endpoint: str, name: str) -> None:
    # A machine may lack it; a wrong type would be a ProtocolError.
    with contextlib.suppress(CommandError):
        talk(endpoint, f"qga.{name}")


def test_both_dialects_share_a_connection(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    async def conversation() -> None:
        async with connect(endpoint) as guest, guest.exec(["cat"]) as process:
            calls = [guest.ping(), guest.qga.get_time(), guest.files.stat("/"), guest.call("guest-get-load")] * 50
            results = await asyncio.gather(*calls)
            assert results[0::4] == [__version__] * 50
            assert all(type(time) is int for time in results[1::4])
            await process.stdin.write(b"still there")
            await process.stdin.end()
            assert await process.stdout.read() == b"still there"
            handle = await guest.qga.file_open(str(tmp_path / "file"))
            assert await guest.qga.file_read(handle) == {"count": 4, "buf-b64": "dGV4dA==", "eof": True}
            await guest.qga.file_close(handle)

    asyncio.run(conversation())


def test_a_refusal_in_the_other_dialect_has_its_class(talk: Talk, endpoint: str) -> None:
    with pytest.raises(CommandError, match="has not been found") as caught:
        talk(endpoint, "call", "guest-unknown")
    assert (caught.value.error_class, caught.value.errno) == ("CommandNotFound", None)
    with pytest.raises(CommandError) as caught:
        talk(endpoint, "qga.file_open", "/no/such")
    assert caught.value.error_class == "GenericError"


@pytest.mark.parametrize("answer", [{"kernel-release": 1}, [], 1, None, {"kernel-release": [[[[]]]]}])
def test_a_wrong_answer_in_the_other_dialect(talk: Talk, answer: Any) -> None:
    with pytest.raises(ProtocolError):
        talk(MockTransport({"guest-get-osinfo": answer}), "qga.get_osinfo")


@pytest.mark.parametrize("line", [b'{"error": 1, "id": %s}\n', b'{"error": {"desc": 1, "class": "x"}, "id": %s}\n'])
def test_a_malformed_error_in_the_other_dialect(talk: Talk, line: bytes) -> None:
    def answer(request: Request) -> bytes:
        return line % f'"{request.tag}"'.encode()

    with pytest.raises(ProtocolError, match="not of the form"):
        talk(MockTransport({"guest-ping": answer}), "qga.ping")


def test_a_command_that_answers_only_its_failure(talk: Talk) -> None:
    transport = MockTransport({"guest-shutdown": SILENCE, "guest-ping": {}})
    assert talk(transport, "qga.shutdown", "reboot") is None
    assert [request.execute for request in transport.requests] == ["guest-shutdown", "guest-ping"]
    assert transport.requests[0].arguments == {"mode": "reboot"}
    with pytest.raises(CommandError, match="no"):
        talk(MockTransport({"guest-shutdown": CommandError("no", -1), "guest-ping": {}}), "qga.shutdown")

    def hang_up(request: Request) -> Any:
        transport.hang_up()
        return SILENCE

    transport = MockTransport({"guest-shutdown": hang_up})
    assert talk(transport, "qga.shutdown") is None
    with pytest.raises(GuestTimeoutError):
        talk(
            MockTransport({"guest-shutdown": SILENCE, "guest-ping": SILENCE}),
            "qga.shutdown",
            options={"timeout": 0.1},
        )


# Exceptions


REQUEST = Request("file-stat", {"path": "/x"}, "tag-1")
ERRORS: list[PhoenixError] = [
    PhoenixError("text", REQUEST),
    EndpointError("text"),
    ConnectError("text", errno=11),
    CommandError("text", -1, REQUEST, "GenericError"),
    errors.command_error("text", 2, REQUEST),
    GuestTimeoutError("text", REQUEST, garbage=True),
    ProcessTimeoutError("text", REQUEST, b"out", b"err"),
    ConnectionLostError("text", REQUEST),
    ProtocolError("text", REQUEST, fatal=True),
    StreamError("text", 5, REQUEST),
    TransferDamagedError("text", REQUEST),
    TransferIncompleteError("text", ("a: b", "c: d"), REQUEST),
    ProcessFailedError(CompletedProcess(("false",), 1, b"out", b"err")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_can_be_pickled(error: PhoenixError) -> None:
    copy: Any = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    members, copied = vars(error), vars(copy)
    assert members.keys() == copied.keys()
    for name, value in members.items():
        if isinstance(value, Request):
            assert (copied[name].execute, copied[name].arguments) == (value.execute, value.arguments)
        else:
            assert copied[name] == value
    if isinstance(error, OSError):
        assert isinstance(copy, OSError)
        assert copy.args == error.args


def test_all_errors_have_one_root_and_end_alike() -> None:
    import phoenix_ga.client

    found = {
        value
        for value in vars(phoenix_ga.client).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert {type(error) for error in ERRORS if not isinstance(error, OSError)} <= found
    for kind in found:
        assert issubclass(kind, PhoenixError)
        assert kind.__name__.endswith("Error")


# The end of a connection without asyncio


def test_calls_after_the_end_say_so(endpoint: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect_sync(endpoint) as guest:
            other = guest.with_timeout(3)
            process = guest.exec(["cat"])
        for call in (guest.ping, other.ping, guest.qga.ping, process.wait, process.stdout.read):
            with pytest.raises(ConnectionLostError, match="was closed"):
                call()
        assert guest.closed
        gc.collect()


def test_a_child_process_cannot_use_the_connection(endpoint: str) -> None:
    with connect_sync(endpoint) as guest:
        pid = os.fork()
        if not pid:
            status = 9
            try:
                guest.ping()
            except ConnectionLostError as error:
                status = 0 if "fork" in str(error) else 8
            guest.close()
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert guest.ping() == __version__


def test_a_guest_that_is_dropped_closes_its_connection() -> None:
    transport = MockTransport({"ping": "1"})
    guest = connect_sync(transport)
    thread = guest._thread._thread
    assert guest.ping() == "1"
    del guest
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert transport.closed
