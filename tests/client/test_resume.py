"""Transfers that go on where an earlier one stopped: nothing is sent twice, and nothing wrong is kept."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import filecmp
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import GuestTimeoutError, MockTransport, TransferDamagedError, Transferred, connect
from phoenix_ga.wire.frames import DATA, END, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from tests.client.conftest import Talk
from tests.support import AgentProcess, wait_for

SIZE = 8_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "from" / "source"
    path.parent.mkdir()
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "target"


def stop_half_way(agent: AgentProcess, endpoint: str, method: str, source: Path, target: Path) -> int:
    """Cut a transfer off in the middle, and return how much of it was kept."""

    async def conversation() -> None:
        async with connect(endpoint) as guest:
            moved = asyncio.Event()

            def progress(done: int, total: int | None) -> None:
                if done > SIZE // 2:
                    moved.set()

            work = getattr(guest, method)(str(source), str(target), resume=True, progress=progress)
            transfer = asyncio.ensure_future(work)
            await moved.wait()
            transfer.cancel()
            await asyncio.gather(transfer, return_exceptions=True)
            # The guest hears of it before it is asked, and closes what it keeps a little later.
            await guest.ping()
            wait_for(lambda: not agent.open_files(target.parent))

    asyncio.run(conversation())
    assert not target.exists() or target.read_bytes() == b"old"
    (part,) = target.parent.glob(".target.*.phoenix-part")
    return part.stat().st_size


@pytest.mark.parametrize("method", ["get", "put"])
def test_the_rest_is_sent_and_nothing_else(
    agent: AgentProcess, talk: Talk, endpoint: str, method: str, source: Path, target: Path
) -> None:
    target.write_bytes(b"old")
    kept = stop_half_way(agent, endpoint, method, source, target)
    assert kept > 1_000_000
    done: list[int] = []
    result = talk(
        endpoint, method, str(source), str(target), resume=True, progress=lambda now, total: done.append(now)
    )
    assert filecmp.cmp(source, target, shallow=False)
    assert result.size == SIZE
    assert result.verified
    assert (result.resumed, result.sha256) == (kept, None)
    assert result.digest_of == ("rest" if kept else "file")
    assert done[0] > kept
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("method", ["get", "put"])
def test_what_was_kept_is_hashed_in_a_thread(
    agent: AgentProcess, endpoint: str, method: str, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_half_way(agent, endpoint, method, source, target)
    threads: set[threading.Thread] = set()

    def pread(fd: int, size: int, offset: int, read: Callable[[int, int, int], bytes] = os.pread) -> bytes:
        threads.add(threading.current_thread())
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)

    async def conversation() -> None:
        async with connect(endpoint) as guest:
            await getattr(guest, method)(str(source), str(target), resume=True)

    asyncio.run(conversation())
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("method", ["get", "put"])
def test_what_was_damaged_meanwhile_is_sent_again(
    agent: AgentProcess, talk: Talk, endpoint: str, method: str, source: Path, target: Path
) -> None:
    stop_half_way(agent, endpoint, method, source, target)
    (part,) = target.parent.glob(".target.*.phoenix-part")
    with part.open("r+b") as file:
        file.write(b"damage")
    talk(endpoint, method, str(source), str(target), resume=True)
    assert filecmp.cmp(source, target, shallow=False)


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_source_that_changed_is_another_one(
    agent: AgentProcess, talk: Talk, endpoint: str, method: str, source: Path, target: Path
) -> None:
    stop_half_way(agent, endpoint, method, source, target)
    source.write_bytes(os.urandom(SIZE))
    talk(endpoint, method, str(source), str(target), resume=True)
    assert filecmp.cmp(source, target, shallow=False)


@pytest.mark.parametrize("method", ["get", "put"])
def test_without_anything_kept_it_is_an_ordinary_transfer(
    talk: Talk, endpoint: str, method: str, source: Path, target: Path
) -> None:
    source.chmod(0o750)
    talk(endpoint, method, str(source), str(target), resume=True)
    assert filecmp.cmp(source, target, shallow=False)
    assert target.stat().st_mode & 0o7777 == 0o750
    assert os.listdir(target.parent) == ["target"]


def opened(request: Request, **members: Any) -> bytes:
    answer = {"stream": 9, "size": 10, "mode": 0o644, "mtime": 7, "uid": 0, "gid": 0, **members}
    return b"".join(encode_return(answer, request.tag))


def test_a_guest_whose_file_changes_between_is_found_out(talk: Talk, target: Path) -> None:
    mtimes = iter([1, 2])
    transport = MockTransport({"file-get": lambda request: opened(request, mtime=next(mtimes))})
    with pytest.raises(TransferDamagedError, match="changed during"):
        talk(transport, "get", "/x", target, resume=True)
    assert not target.exists()


def test_a_guest_that_lies_in_the_end_leaves_nothing_to_continue(talk: Talk, target: Path) -> None:
    def answer(request: Request) -> bytes:
        if request.arguments["window"] == 1:
            return opened(request)
        ended = Stream(9, credit=0, window=0).end({"size": 10, "sha256": "0" * 64})
        return opened(request) + encode_header(DATA, 9, 10) + bytes(10) + ended

    with pytest.raises(TransferDamagedError):
        talk(MockTransport({"file-get": answer}), "get", "/x", target, resume=True)
    assert os.listdir(target.parent) == []


def test_a_guest_that_never_tells_a_digest_is_not_waited_for(talk: Talk, source: Path, target: Path) -> None:
    from phoenix_ga.client import SILENCE
    from phoenix_ga.wire.commands import BY_NAME

    example: Any = BY_NAME["file-stat"].examples[0].answer
    status = {**example, "stat": {**example["stat"], "Mode": 0o100600, "Size": 5}}
    transport = MockTransport({"file-stat": status, "get-file-sha256sum": SILENCE})
    with pytest.raises(GuestTimeoutError):
        talk(transport, "put", str(source), "/x", resume=True, options={"timeout": 0.1})
    assert all(frame.type != END for frame in transport.frames)


@pytest.mark.parametrize("method", ["get", "put"])
def test_two_transfers_never_continue_the_same_part(
    agent: AgentProcess, talk: Talk, endpoint: str, method: str, source: Path, target: Path
) -> None:
    kept = stop_half_way(agent, endpoint, method, source, target)
    (part,) = target.parent.glob(".target.*.phoenix-part")
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another") as caught:
            talk(endpoint, method, str(source), str(target), resume=True)
    assert caught.value.errno == errno.EBUSY
    assert part.stat().st_size == kept
    assert talk(endpoint, method, str(source), str(target), resume=True).resumed == kept
    assert filecmp.cmp(source, target, shallow=False)


def another_name(path: Path) -> None:
    (path.parent / "same").hardlink_to(path)


def by_anybody(path: Path) -> None:
    path.chmod(0o666)


def of_somebody(path: Path) -> None:
    os.chown(path, 12345, 12345)


def a_link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"precious")
    path.unlink()
    path.symlink_to(path.parent / "elsewhere")


def nothing_but_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        another_name,
        by_anybody,
        a_link,
        nothing_but_a_pipe,
        pytest.param(of_somebody, marks=[pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="root")]),
    ],
)
def test_a_part_that_somebody_else_could_change_is_not_continued(
    agent: AgentProcess, talk: Talk, endpoint: str, source: Path, target: Path, change: Callable[[Path], None]
) -> None:
    stop_half_way(agent, endpoint, "get", source, target)
    (part,) = target.parent.glob(".target.*.phoenix-part")
    change(part)
    result = talk(endpoint, "get", str(source), str(target), resume=True)
    assert result.resumed == 0
    assert filecmp.cmp(source, target, shallow=False)
    status = target.lstat()
    assert (status.st_uid, status.st_nlink) == (os.geteuid(), 1)
    assert not target.is_symlink()
    if change is a_link:
        assert (target.parent / "elsewhere").read_bytes() == b"precious"


def test_of_two_gets_at_once_none_reports_success_for_a_damaged_file(
    endpoint: str, source: Path, target: Path
) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest, connect(endpoint) as other:
            found = await asyncio.gather(
                *(each.get(str(source), str(target), resume=True) for each in (guest, other)), return_exceptions=True
            )
        assert any(isinstance(each, Transferred) for each in found)
        assert all(isinstance(each, Transferred) or getattr(each, "errno", 0) == errno.EBUSY for each in found)

    asyncio.run(conversation())
    assert filecmp.cmp(source, target, shallow=False)
