"""Open files as the QEMU Guest Agent has them: modes, handles, positions, ends, and its very words."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.dialects.qga.base64_text import decode_guest_base64
from phoenix_ga.agent.protocol.call import CommandError
from tests.agent.qga import GuestError, call, encode
from tests.ends.client import LineClient
from tests.support import AgentProcess

READ = ("r", "rb")
NEW = ("w", "wb", "a", "ab", "w+", "wb+", "w+b", "a+", "ab+", "a+b")
BOTH = ("r+", "rb+", "r+b", "w+", "wb+", "w+b", "a+", "ab+", "a+b")


def opened(client: LineClient, path: Path, mode: str = "r") -> int:
    handle = call(client, "guest-file-open", path=str(path), mode=mode)
    assert isinstance(handle, int)
    return handle


def read(client: LineClient, handle: int, **count: int) -> tuple[bytes, bool]:
    answer = call(client, "guest-file-read", handle=handle, **count)
    data = base64.b64decode(answer["buf-b64"])
    assert set(answer) == {"count", "buf-b64", "eof"}
    assert answer["count"] == len(data)
    return data, answer["eof"]


def write(client: LineClient, handle: int, data: bytes, **count: int) -> Any:
    return call(client, "guest-file-write", handle=handle, buf_b64=encode(data), **count)


@pytest.mark.parametrize("mode", NEW)
def test_these_modes_make_a_file_that_anybody_may_write(client: LineClient, tmp_path: Path, mode: str) -> None:
    handle = opened(client, tmp_path / "new", mode)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666
    assert write(client, handle, b"data") == {"count": 4, "eof": False}
    assert (tmp_path / "new").read_bytes() == b"data"


@pytest.mark.parametrize("mode", [*READ, "r+", "rb+", "r+b"])
def test_these_modes_need_a_file_and_keep_what_is_in_it(client: LineClient, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    text = f"failed to open file '{path}' (mode: '{mode}'): No such file or directory"
    with pytest.raises(GuestError) as error:
        opened(client, path, mode)
    assert str(error.value) == text
    path.write_bytes(b"before")
    assert read(client, opened(client, path, mode)) == (b"before", True)


@pytest.mark.parametrize("mode", [*BOTH, "w", "a"])
def test_what_a_mode_does_to_a_file_that_is_there(client: LineClient, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o640)
    handle = opened(client, path, mode)
    write(client, handle, b"now")
    expected = {"r": b"nowore", "w": b"now", "a": b"beforenow"}[mode[0]]
    assert path.read_bytes() == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    if mode in BOTH:
        call(client, "guest-file-seek", handle=handle, offset=0, whence=0)
        assert read(client, handle) == (expected, True)


@pytest.mark.parametrize("mode", ["zz", "", "x", "br", "w+e", "rw"])
def test_other_modes_are_invalid(client: LineClient, tmp_path: Path, mode: str) -> None:
    with pytest.raises(GuestError, match="invalid file open mode '") as error:
        opened(client, tmp_path / "file", mode)
    assert str(error.value) == f"invalid file open mode '{mode}'"
    assert not (tmp_path / "file").exists()


def test_the_end_comes_with_the_first_short_read_and_stays(client: LineClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    handle = opened(client, path)
    assert read(client, handle) == (b"x" * 4096, False)
    assert read(client, handle, count=904) == (b"x" * 904, False)
    assert read(client, handle) == (b"", True)
    assert read(client, handle, count=0) == (b"", False)
    with path.open("ab") as file:
        file.write(b"more")
    assert read(client, handle) == (b"more", True)
    assert read(client, handle) == (b"", True)


def test_what_was_written_is_read_after_a_seek_only(client: LineClient, tmp_path: Path) -> None:
    handle = opened(client, tmp_path / "file", "w+")
    write(client, handle, b"hello world")
    assert read(client, handle) == (b"", True)
    assert call(client, "guest-file-seek", handle=handle, offset=-5, whence="end") == {"position": 6, "eof": False}
    assert read(client, handle, count=3) == (b"wor", False)
    assert call(client, "guest-file-seek", handle=handle, offset=1, whence=1)["position"] == 10
    write(client, handle, b"!?", count=1)
    assert call(client, "guest-file-seek", handle=handle, offset=0, whence="set")["position"] == 0
    assert read(client, handle) == (b"hello worl!", True)
    assert call(client, "guest-file-flush", handle=handle) == {}
    assert call(client, "guest-file-close", handle=handle) == {}


def test_handles_count_up_over_clients_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    state = tmp_path / "run" / "qga.state"
    with AgentProcess(tmp_path) as agent:
        with agent.connect() as client:
            assert opened(client, path) == 1000
            assert read(client, 1000, count=4) == (b"0123", False)
        with agent.connect() as client:
            assert read(client, 1000, count=4) == (b"4567", False)
            with pytest.raises(GuestError):
                opened(client, tmp_path / "missing")
            assert opened(client, path) == 1001
        assert state.read_text() == "[global]\nfd_counter=1002\n"
        agent.process.kill()
        agent.restart()
        with agent.connect() as client:
            assert opened(client, path) == 1002
            with pytest.raises(GuestError, match="handle '1000' has not been found"):
                read(client, 1000)
            state.unlink()
            state.parent.rename(tmp_path / "gone")
            state.parent.write_bytes(b"in the way")
            with pytest.raises(GuestError, match=r"^failed to commit persistent state to disk$"):
                opened(client, path)
            assert agent.open_files(tmp_path).count(str(path)) == 1


def test_only_so_many_files_may_be_open_and_nothing_is_emptied_in_vain(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    with AgentProcess(tmp_path, "--max-handles", "2") as agent, agent.connect() as client:
        first = opened(client, path)
        opened(client, path)
        with pytest.raises(
            GuestError, match="2 files are open, which is the limit; close some with guest-file-close"
        ):
            opened(client, path, "w")
        assert path.read_bytes() == b"data"
        call(client, "guest-file-close", handle=first)
        opened(client, path, "w")


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("read", {"count": -1}, "value '-1' is invalid for argument count"),
        ("read", {"count": 50331649}, "value '50331649' is invalid for argument count"),
        ("read", {"handle": 5}, "handle '5' has not been found"),
        ("write", {"buf-b64": "eHh4", "count": 4}, "value '4' is invalid for argument count"),
        ("write", {"buf-b64": "eHh4", "count": -1}, "value '-1' is invalid for argument count"),
        ("write", {"buf-b64": "eHh4\r\n"}, "Base64 data contains invalid characters"),
        ("write", {"buf-b64": "!", "handle": 5}, "handle '5' has not been found"),
        ("write", {"buf-b64": "eHh4"}, "failed to write to file: Bad file descriptor"),
        ("seek", {"offset": 0, "whence": 3}, "invalid whence code 3"),
        ("seek", {"offset": -1, "whence": 0}, "failed to seek file: Invalid argument"),
        ("seek", {"offset": 0, "whence": "SEEK"}, "Parameter 'whence' does not accept value 'SEEK'"),
        ("seek", {"offset": 0, "whence": True}, "Invalid parameter type for 'whence', expected: GuestFileWhence"),
        ("seek", {"offset": 0, "whence": 1.0}, "Invalid parameter type for 'whence', expected: integer"),
        ("seek", {"offset": 0}, "Parameter 'whence' is missing"),
        ("close", {"handle": 5}, "handle '5' has not been found"),
        ("flush", {"handle": 5}, "handle '5' has not been found"),
    ],
)
def test_what_is_said_of_mistakes(
    client: LineClient, tmp_path: Path, command: str, arguments: dict[str, Any], text: str
) -> None:
    (tmp_path / "file").write_bytes(b"data")
    handle = opened(client, tmp_path / "file")
    with pytest.raises(GuestError) as error:
        call(client, f"guest-file-{command}", **{"handle": handle, **arguments})
    assert str(error.value) == text


def test_a_directory_opens_but_is_not_read(client: LineClient, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="failed to read file: Is a directory"):
        read(client, opened(client, tmp_path))
    with pytest.raises(GuestError, match=r"\(mode: 'w'\): Is a directory"):
        opened(client, tmp_path, "w")


def test_a_fifo_keeps_nobody_waiting_and_loses_nothing(client: LineClient, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(GuestError, match=r"\(mode: 'w'\): No such device or address"):
        opened(client, path, "w")
    reader = opened(client, path)
    assert read(client, reader) == (b"", True)
    writer = opened(client, path, "w")
    with pytest.raises(GuestError, match="failed to read file: Resource temporarily unavailable"):
        read(client, reader)
    write(client, writer, b"abc")
    assert read(client, reader) == (b"abc", False)
    with pytest.raises(GuestError, match="failed to seek file: Illegal seek"):
        call(client, "guest-file-seek", handle=reader, offset=0, whence=0)
    taken = write(client, writer, bytes(1_000_000))["count"]
    assert 0 < taken < 1_000_000
    with pytest.raises(GuestError, match="failed to write to file: Resource temporarily unavailable"):
        write(client, writer, b"more")
    data, ended = read(client, reader, count=1_000_000)
    assert (len(data), ended) == (taken, False)
    call(client, "guest-file-close", handle=reader)
    with pytest.raises(GuestError, match="failed to write to file: Broken pipe"):
        write(client, writer, b"more")


def test_a_full_device_says_so_at_once(client: LineClient) -> None:
    handle = opened(client, Path("/dev/full"), "w")
    with pytest.raises(GuestError, match="failed to write to file: No space left on device"):
        write(client, handle, b"data")


@pytest.mark.parametrize("size", [98_303, 98_304, 98_305, 1_000_000, 3_145_729])
def test_much_at_once_comes_back_whole(client: LineClient, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    handle = opened(client, tmp_path / "file", "w+")
    assert write(client, handle, data)["count"] == size
    call(client, "guest-file-seek", handle=handle, offset=0, whence=0)
    assert read(client, handle, count=size) == (data, False)
    call(client, "guest-file-seek", handle=handle, offset=0, whence=0)
    assert read(client, handle, count=size + 1) == (data, True)


def test_memory_is_what_it_was_after_many_reads_and_one_of_48_mib(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(50_000_000))
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        handle = opened(client, path)
        before = agent.memory()
        for _ in range(1000):
            read(client, handle, count=48 * 1024)
        call(client, "guest-file-seek", handle=handle, offset=0, whence=0)
        assert len(read(client, handle, count=48 * 1024 * 1024)[0]) == 50_000_000
        assert agent.memory() - before < 4 * 1024 * 1024


def test_a_read_only_policy_lets_files_be_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    with AgentProcess(tmp_path, "--read-only") as agent, agent.connect() as client:
        assert read(client, opened(client, path)) == (b"data", True)
        for mode in ("w", "a+", "r+b"):
            message = f'{{"execute": "guest-file-open", "arguments": {{"path": "{path}", "mode": "{mode}"}}}}'
            client.send(message.encode())
            assert client.answer()["error"]["class"] == "CommandNotFound"
        assert path.read_bytes() == b"data"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("MTIz\nNDU2\n", b"123456"),
        ("MTI", b""),
        ("MTIzN", b"123"),
        ("M===", b"0"),
        ("MTI=MTI=", b"1212"),
        ("=", b""),
        ("MTIz=", b"123"),
        ("MT=I", b"1\x08"),
        ("M\nT\nI\n=", b"12"),
        ("", b""),
        ("\n", b""),
    ],
)
def test_base64_is_read_as_qemus_agent_reads_it(text: str, data: bytes) -> None:
    assert decode_guest_base64(text) == data


@pytest.mark.parametrize("text", ["MTIz\r\nNDU2", "MTIz NDU2", "MT-_", "!", "\u00e4", "\udcff", "MTI=\0"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"^Base64 data contains invalid characters$"):
        decode_guest_base64(text)


@given(st.binary(max_size=300), st.integers(1, 80))
def test_any_data_survives_base64_with_lines_of_any_length(data: bytes, width: int) -> None:
    text = encode(data)
    lines = "".join(text[start : start + width] + "\n" for start in range(0, len(text), width))
    assert decode_guest_base64(text) == decode_guest_base64(lines) == data
