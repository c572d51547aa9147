"""Whole files: they arrive as they are, or not at all, and leave no handle open."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    HANG_UP,
    SILENCE,
    Guest,
    GuestRefused,
    GuestTimeout,
    LinkLost,
    MockTransport,
    ProtocolViolation,
    TransferDamaged,
    connect,
)
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.messages import encode_base64
from tests.client.conftest import Talk
from tests.support import AgentProcess

PIECE = encode_base64(b"x" * 999).decode()


def open_files(agent: AgentProcess, path: Path) -> int:
    directory = Path(f"/proc/{agent.process.pid}/fd")
    return sum(os.path.realpath(link) == str(path) for link in directory.iterdir())


def status(size: int, mode: int = 0o100640) -> dict[str, Any]:
    example: dict[str, Any] = BY_NAME["file-stat"].examples[0].answer
    return {**example, "stat": {**example["stat"], "Size": size, "Mode": mode}}


@pytest.mark.parametrize("size", [0, 1, 512 * 1024 - 1, 512 * 1024, 5 * 512 * 1024 + 7])
def test_files_of_all_sizes_arrive_both_ways(talk: Talk, endpoint: str, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(data)
    source.chmod(0o751)
    for result in (talk(endpoint, "put", source, str(there)), talk(endpoint, "get", str(there), back)):
        assert (result.size, result.md5, result.verified) == (size, hashlib.md5(data).hexdigest(), True)
    for copy in (there, back):
        assert copy.read_bytes() == data
        assert copy.stat().st_mode & 0o7777 == 0o751
    assert sorted(os.listdir(tmp_path)) == ["back", "source", "there"]


def test_permissions_can_be_given(talk: Talk, endpoint: str, big_file: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(b"was here")
    there.chmod(0o644)
    talk(endpoint, "put", big_file, str(there), mode=0o4700)
    talk(endpoint, "get", str(there), back, mode=0o600)
    assert there.stat().st_mode & 0o7777 == 0o4700
    assert back.stat().st_mode & 0o7777 == 0o600


def test_progress_is_told_up_to_the_end(talk: Talk, endpoint: str, big_file: Path, tmp_path: Path) -> None:
    size = big_file.stat().st_size
    for method in ("get", "put"):
        seen: list[tuple[int, Any]] = []

        def keep(done: int, total: int | None, seen: list[tuple[int, Any]] = seen) -> None:
            seen.append((done, total))

        talk(endpoint, method, str(big_file), str(tmp_path / method), progress=keep)
        assert seen[-1] == (size, size)
        assert seen == sorted(seen)
        assert len(seen) > 5


def test_a_file_that_the_kernel_makes_up(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    result = talk(endpoint, "get", "/proc/meminfo", tmp_path / "meminfo")
    assert result.size > 0
    assert not result.verified
    assert b"MemTotal" in (tmp_path / "meminfo").read_bytes()


def test_a_get_into_a_symbolic_link_replaces_what_it_names(
    talk: Talk, endpoint: str, big_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    talk(endpoint, "get", str(big_file), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == big_file.read_bytes()


def test_a_get_of_what_is_not_there_leaves_the_old_file(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("old")
    with pytest.raises(FileNotFoundError) as caught:
        talk(endpoint, "get", "/nowhere", tmp_path / "local")
    assert isinstance(caught.value, GuestRefused)
    assert (tmp_path / "local").read_text() == "old"
    assert os.listdir(tmp_path) == ["local"]


def test_what_cannot_be_copied_is_an_ordinary_error(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source, kind in (
        (tmp_path, IsADirectoryError),
        (tmp_path / "none", FileNotFoundError),
        (tmp_path / "fifo", OSError),
    ):
        with pytest.raises(kind) as caught:
            talk(endpoint, "put", source, str(tmp_path / "there"))
        assert not isinstance(caught.value, GuestRefused)
    with pytest.raises(FileNotFoundError) as missing:
        talk(endpoint, "get", "/etc/hosts", tmp_path / "no" / "directory")
    assert missing.value.filename == str(tmp_path / "no" / "directory")


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_transfer_that_is_cancelled_leaves_no_half_file_and_no_handle(
    method: str, agent: AgentProcess, endpoint: str, big_file: Path, tmp_path: Path
) -> None:
    source, target = str(big_file), str(tmp_path / "target")

    async def conversation() -> None:
        async with connect(endpoint) as guest:
            moving = asyncio.Event()
            transfer = asyncio.create_task(
                getattr(guest, method)(source, target, progress=lambda *step: moving.set())
            )
            await moving.wait()
            transfer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await transfer
            assert await guest.ping()
            remote = big_file if method == "get" else Path(target)
            assert open_files(agent, remote) == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())
    left = set(os.listdir(tmp_path)) - {big_file.name}
    assert left == (set() if method == "get" else {"target"})


def test_a_handle_that_was_on_its_way_when_the_caller_gave_up_is_closed() -> None:
    async def conversation() -> None:
        transport = MockTransport({"file-stat": status(3), "file-open": SILENCE, "file-close": True})
        async with connect(transport) as guest:
            transfer = asyncio.create_task(guest.get("/x", "/dev/null"))
            while [request.execute for request in transport.requests] != ["file-stat", "file-open"]:
                await asyncio.sleep(0.001)
            transfer.cancel()
            await asyncio.sleep(0.01)
            transport.feed(b'{"return": 77, "tag": "%s"}\n' % transport.requests[1].tag.encode())
            with pytest.raises(asyncio.CancelledError):
                await transfer
            assert transport.requests[-1].arguments == {"handle_id": 77}

    asyncio.run(conversation())


HOSTILE_READS: dict[str, tuple[Any, type[Exception]]] = {
    "an empty piece that is not the end": ({"bufb64": "", "eof": False}, ProtocolViolation),
    "a piece larger than asked for": (
        {"bufb64": encode_base64(b"x" * 600_000).decode(), "eof": False},
        ProtocolViolation,
    ),
    "no base64": ({"bufb64": "?", "eof": True}, ProtocolViolation),
    "the link dies": (HANG_UP, LinkLost),
    "no answer": (SILENCE, GuestTimeout),
    "a refusal": (GuestRefused("I/O error", 5), GuestRefused),
    "another digest": ({"bufb64": PIECE, "eof": True}, TransferDamaged),
}


@pytest.mark.parametrize(("answer", "error"), HOSTILE_READS.values(), ids=HOSTILE_READS.keys())
def test_a_get_that_goes_wrong_leaves_no_file(
    talk: Talk, tmp_path: Path, answer: Any, error: type[Exception]
) -> None:
    answers = {
        "file-stat": status(1000),
        "file-open": 5,
        "file-read": answer,
        "file-close": True,
        "get-file-md5sum": "0" * 32,
    }
    with pytest.raises(error):
        talk(MockTransport(answers), "get", "/x", tmp_path / "local", options={"timeout": 0.05})
    assert os.listdir(tmp_path) == []


def test_a_put_that_meets_a_full_disk_closes_its_handle(talk: Talk, big_file: Path) -> None:
    full = GuestRefused("No space left on device", 28)
    transport = MockTransport({"file-open": 5, "file-chmod": True, "file-write": full, "file-close": True})
    with pytest.raises(GuestRefused, match="No space") as caught:
        talk(transport, "put", big_file, "/x")
    assert caught.value.errno == 28
    assert transport.requests[-1].execute == "file-close"


def test_a_damaged_put_is_noticed_unless_nobody_wants_to_know(talk: Talk, big_file: Path) -> None:
    answers = {
        "file-open": 5,
        "file-chmod": True,
        "file-write": True,
        "file-close": True,
        "get-file-md5sum": "0" * 32,
    }
    with pytest.raises(TransferDamaged):
        talk(MockTransport(answers), "put", big_file, "/x")
    assert not talk(MockTransport(answers), "put", big_file, "/x", verify=False).verified


def test_pieces_are_under_way_together() -> None:
    async def conversation() -> None:
        transport = MockTransport({"file-stat": status(10), "file-open": 5, "file-read": SILENCE, "file-close": True})
        async with connect(transport, timeout=0.1) as guest:
            assert isinstance(guest, Guest)
            with pytest.raises(GuestTimeout):
                await guest.get("/x", "/dev/null")
        assert [request.execute for request in transport.requests].count("file-read") == 4

    asyncio.run(conversation())
