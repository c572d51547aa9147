"""Whole files: they arrive as they are, or not at all, and leave no handle open."""

from __future__ import annotations

import asyncio
import errno
import filecmp
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    HANG_UP,
    SILENCE,
    CommandError,
    ConnectionLostError,
    GuestTimeoutError,
    MockTransport,
    ProtocolError,
    StreamError,
    TransferDamagedError,
    connect,
    connect_sync,
)
from phoenix_ga.wire.frames import DATA, END, RESET, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from phoenix_ga.wire.units import Frame
from tests.client.conftest import Talk
from tests.support import AgentProcess, wait_for

OPENED = {"stream": 9, "size": 1000, "mode": 0o644, "mtime": 0, "uid": 0, "gid": 0}


def sent(*frames: bytes, **opened: Any) -> Callable[[Request], bytes]:
    """Return what answers a request with an opened stream and then these frames."""
    return lambda request: b"".join([*encode_return({**OPENED, **opened}, request.tag), *frames])


def data(payload: bytes) -> bytes:
    return encode_header(DATA, 9, len(payload)) + payload


def end(**message: Any) -> bytes:
    return Stream(9, credit=0, window=0).end(message)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 - 1, 512 * 1024, 5 * 512 * 1024 + 7])
def test_files_of_all_sizes_arrive_both_ways(talk: Talk, endpoint: str, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(data)
    source.chmod(0o751)
    for verb, places in (("put", (source, str(there))), ("get", (str(there), back))):
        result = talk(endpoint, verb, *places, verify="sha256")
        assert (result.size, result.sha256, result.verified) == (size, hashlib.sha256(data).hexdigest(), True)
    for copy in (there, back):
        assert copy.read_bytes() == data
        assert copy.stat().st_mode & 0o7777 == 0o751
    assert sorted(os.listdir(tmp_path)) == ["back", "source", "there"]


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_many_transfers_in_a_row_never_stall(endpoint: str, big_file: Path, tmp_path: Path, rounds: int) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            for _ in range(rounds):
                for step in (
                    guest.put(big_file, str(tmp_path / "there"), verify="none"),
                    guest.get(str(big_file), tmp_path / "back", verify="none"),
                ):
                    await asyncio.wait_for(step, 60)

    asyncio.run(conversation())
    assert filecmp.cmp(tmp_path / "there", big_file, shallow=False)
    assert filecmp.cmp(tmp_path / "back", big_file, shallow=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_is_on_the_disk_before_it_is_in_its_place(
    endpoint: str, big_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(fd: int) -> None:
        steps.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def recorded_replace(source: str, target: str) -> None:
        steps.append(("replace", str(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with connect_sync(endpoint) as guest:
        guest.get(str(big_file), tmp_path / "copy", resume=resume)
    part = steps[0][1]
    assert steps == [("fsync", part), ("replace", part), ("fsync", str(tmp_path))]
    assert part != str(tmp_path / "copy")


def test_permissions_can_be_given(talk: Talk, endpoint: str, big_file: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(b"was here")
    there.chmod(0o644)
    talk(endpoint, "put", big_file, str(there), permissions=0o4700)
    talk(endpoint, "get", str(there), back, permissions=0o600)
    assert there.stat().st_mode & 0o7777 == 0o4700
    assert back.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_that_is_replaced_passes_on_its_permissions(
    talk: Talk, endpoint: str, big_file: Path, tmp_path: Path, resume: bool
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    big_file.chmod(0o644)
    for path in (there, back):
        path.write_bytes(b"was here")
        path.chmod(0o600)
        os.setxattr(path, "user.comment", b"mine")
    talk(endpoint, "put", big_file, str(there), resume=resume)
    talk(endpoint, "get", str(big_file), back, resume=resume)
    for path in (there, back):
        assert filecmp.cmp(path, big_file, shallow=False)
        assert path.stat().st_mode & 0o7777 == 0o600
        assert os.getxattr(path, "user.comment") == b"mine"


def test_progress_is_told_up_to_the_end(talk: Talk, endpoint: str, big_file: Path, tmp_path: Path) -> None:
    size = big_file.stat().st_size
    for method in ("get", "put"):
        seen: list[tuple[int, Any]] = []

        def keep(done: int, total: int | None, seen: list[tuple[int, Any]] = seen) -> None:
            seen.append((done, total))

        talk(endpoint, method, str(big_file), str(tmp_path / method), progress=keep)
        assert seen[-1] == (size, size)
        assert seen == sorted(seen)
        assert len(seen) >= 5


def test_a_file_that_the_kernel_makes_up(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    result = talk(endpoint, "get", "/proc/meminfo", tmp_path / "meminfo")
    assert result.size > 0
    assert result.verified
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
    assert isinstance(caught.value, CommandError)
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
        assert not isinstance(caught.value, CommandError)
    with pytest.raises(FileNotFoundError) as missing:
        talk(endpoint, "get", "/etc/hosts", tmp_path / "no" / "directory")
    assert missing.value.filename == str(tmp_path / "no" / "directory")


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_transfer_that_is_cancelled_leaves_no_half_file_and_nothing_open(
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
            wait_for(lambda: not agent.open_files(tmp_path))
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())
    wait_for(lambda: os.listdir(tmp_path) == [big_file.name])


def test_a_stream_that_was_on_its_way_when_the_caller_gave_up_is_reset() -> None:
    async def conversation() -> None:
        transport = MockTransport({"file-get": SILENCE})
        async with connect(transport) as guest:
            transfer = asyncio.create_task(guest.get("/x", "/dev/null"))
            while not any(request.execute == "file-get" for request in transport.requests):
                await asyncio.sleep(0.001)
            transfer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await transfer
            transport.feed(sent(data(b"x"))(transport.requests[-1]))
            transport.answers["ping"] = "still there"
            assert await guest.call("ping") == "still there"
            assert [(frame.type, frame.stream) for frame in transport.frames] == [(RESET, 9)]

    asyncio.run(conversation())


def closing(content: bytes, **wrong: Any) -> bytes:
    return end(**{"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **wrong})


HOSTILE_GETS: dict[str, tuple[Any, type[Exception]]] = {
    "the link dies": (HANG_UP, ConnectionLostError),
    "no answer": (SILENCE, GuestTimeoutError),
    "no data": (sent(), GuestTimeoutError),
    "no end": (sent(data(b"x")), GuestTimeoutError),
    "a refusal": (CommandError("I/O error", 5), CommandError),
    "a reset": (sent(data(b"x"), Stream(9, credit=0, window=0).reset("I/O error", 5)), StreamError),
    "another digest": (sent(data(b"x"), closing(b"x", sha256="0" * 64)), TransferDamagedError),
    "no digest": (sent(data(b"x"), end(size=1)), TransferDamagedError),
    "another size": (sent(data(b"x"), closing(b"x", size=2)), TransferDamagedError),
    "more than there is room for": (sent(*[data(bytes(1 << 18))] * 5), StreamError),
    "a stream without a number": (sent(stream="x"), ProtocolError),
    "a stream with a number of no frame": (sent(stream=1 << 32), ProtocolError),
    "a file without a mode": (sent(mode=None), ProtocolError),
}


@pytest.mark.parametrize(("answer", "error"), HOSTILE_GETS.values(), ids=HOSTILE_GETS.keys())
def test_a_get_that_goes_wrong_leaves_no_file(
    talk: Talk, tmp_path: Path, answer: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        talk(MockTransport({"file-get": answer}), "get", "/x", tmp_path / "local", options={"timeout": 0.2})
    assert os.listdir(tmp_path) == []


def test_a_put_that_meets_a_full_disk_says_so(talk: Talk, big_file: Path) -> None:
    full = Stream(9, credit=0, window=0).reset("No space left on device", 28)
    transport = MockTransport({"file-put": {"stream": 9, "window": 65536}}, on_frame=lambda frame: full)
    with pytest.raises(StreamError, match="No space") as caught:
        talk(transport, "put", big_file, "/x")
    assert caught.value.code == 28


def test_a_put_waits_for_no_credit_for_ever(talk: Talk, big_file: Path) -> None:
    transport = MockTransport({"file-put": {"stream": 9, "window": 0}})
    with pytest.raises(GuestTimeoutError, match="no progress"):
        talk(transport, "put", big_file, "/x", options={"timeout": 0.2})
    assert [frame.type for frame in transport.frames] == [RESET]


def test_a_damaged_put_is_noticed_unless_nobody_wants_to_know(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")

    def answer(frame: Frame) -> bytes:
        return end(size=1, sha256="0" * 64) if frame.type == END else b""

    for verify in (True, False):
        transport = MockTransport({"file-put": {"stream": 9, "window": 65536}}, on_frame=answer)
        if verify:
            with pytest.raises(TransferDamagedError):
                talk(transport, "put", tmp_path / "small", "/x")
        else:
            assert not talk(transport, "put", tmp_path / "small", "/x", verify=False).verified


@pytest.mark.parametrize("shape", ["hole", "hole data", "data hole", "data hole data hole", "data"])
def test_holes_stay_holes_both_ways(talk: Talk, endpoint: str, tmp_path: Path, shape: str) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    with source.open("wb") as file:
        for part in shape.split():
            if part == "hole":
                file.seek(64 << 20, os.SEEK_CUR)
            else:
                file.write(os.urandom(1 << 20))
        file.truncate()
    for result in (talk(endpoint, "put", source, str(there)), talk(endpoint, "get", str(there), back)):
        assert result.size == source.stat().st_size
        assert (result.verified, result.digest_of) == (True, "stream" if "hole" in shape else "file")
        assert result.sha256 is None or result.algorithm == "sha256"
    for copy in (there, back):
        assert filecmp.cmp(source, copy, shallow=False)
        assert copy.stat().st_blocks <= source.stat().st_blocks + 16


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_source_that_becomes_shorter_is_an_error_and_replaces_nothing(
    talk: Talk, endpoint: str, big_file: Path, tmp_path: Path, method: str
) -> None:
    target = tmp_path / "target"
    target.write_text("old")

    def shrink(done: int, total: int | None) -> None:
        os.truncate(big_file, 1_000)

    kind: type[OSError] | type[StreamError] = StreamError if method == "get" else OSError
    with pytest.raises(kind, match="became shorter") as caught:
        talk(endpoint, method, str(big_file), str(target), progress=shrink)
    assert getattr(caught.value, "code" if method == "get" else "errno") == errno.ESTALE
    assert target.read_text() == "old"


@pytest.mark.root
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("method", ["get", "put"])
def test_attributes_of_the_source_can_be_kept(
    talk: Talk, endpoint: str, tmp_path: Path, method: str, replaces: bool, resume: bool
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    os.chown(source, 4711, 4712)
    source.chmod(0o4751)
    os.utime(source, ns=(0, 1_234_567_890_123_456_789))
    if replaces:
        target.write_text("old")
        target.chmod(0o600)
    talk(endpoint, method, str(source), str(target), preserve=True, resume=resume)
    status = target.stat()
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (4711, 4712, 1_234_567_890_123_456_789)
    # A set-ID bit would give the rights of the owner to what came from elsewhere.
    assert status.st_mode & 0o7777 == 0o751
    talk(endpoint, method, str(source), str(target), preserve=True, permissions=0o640)
    assert target.stat().st_mode & 0o7777 == 0o640


@pytest.mark.root
@pytest.mark.parametrize("odd", [{"uid": 2**63}, {"gid": 2**33}])
def test_a_guest_with_impossible_attributes_leaves_no_file(talk: Talk, tmp_path: Path, odd: dict[str, int]) -> None:
    transport = MockTransport({"file-get": sent(data(b"x"), end(size=1), size=1, **odd)})
    with pytest.raises(OSError, match="that no file can have"):
        talk(transport, "get", "/f", str(tmp_path / "f"), preserve=True, verify=False)
    assert list(tmp_path.iterdir()) == []
