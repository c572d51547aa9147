"""A file on its way into a stream: whatever is read where, the bytes are those of the file."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any, Union, cast

import pytest

from phoenix_ga.agent.core import nowait
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.nowait import NOWAIT
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.endpoints.endpoint import FRAME_SIZE
from phoenix_ga.agent.endpoints.file_source import FileSource
from phoenix_ga.agent.protocol.streams import Streams
from phoenix_ga.wire.frames import HEADER_SIZE
from phoenix_ga.wire.streams import Data, End, Reset, Skip, Stream
from phoenix_ga.wire.units import Frame, Parser

SIZE = 3_000_017
CREDIT = 1 << 30
Event = Union[Data, Skip, End, Reset]


class SlowChannel:
    """Takes a frame only some turns of the loop after it was given, as a port does whose host is slow."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.streams: Streams | None = None
        self.sent = bytearray()
        self.output_size = 0
        self._waiting: list[memoryview] = []

    def send(self, pieces: list[Any]) -> None:
        self._waiting += [memoryview(piece) for piece in pieces]
        self.output_size = sum(len(piece) for piece in self._waiting)
        self.loop.call_later(0.001, self._take)

    write = send

    def _take(self) -> None:
        for piece in self._waiting:
            self.sent += piece
        self._waiting.clear()
        self.output_size = 0
        assert self.streams is not None
        self.streams.pump()
        if not len(self.streams) and not self._waiting:
            self.loop.stop()


def sent(path: Path, digest: bool, sparse: bool, offset: int = 0, length: int = SIZE) -> list[Event]:
    """Send a file over a slow channel, and return what came out."""
    loop = Loop()
    channel = SlowChannel(loop)
    streams = channel.streams = Streams(loop, Workers(2), cast(Any, channel), Throttle(), 10, count(1).__next__)
    source = FileSource(os.open(path, os.O_RDONLY), offset, length, digest, sparse, Throttle())
    streams.open(source, CREDIT).start()
    loop.run()
    parser = Parser()
    parser.receive(channel.sent)
    receiver = Stream(1, credit=0, window=CREDIT, skips=True)
    return [cast(Any, receiver.receive(cast(Frame, frame))) for frame in parser]


def content(events: list[Event]) -> bytes:
    end = events[-1]
    assert isinstance(end, End)
    data = b"".join(bytes(each.length) if isinstance(each, Skip) else each.payload for each in events[:-1])  # type: ignore[union-attr]
    assert end.message["size"] == len(data)
    return data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("digest", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (1, SIZE), (4095, 2 * FRAME_SIZE), (SIZE, 1), (5, 0)])
def test_what_is_sent_is_what_is_in_the_file(
    file: Path, digest: bool, sparse: bool, offset: int, length: int
) -> None:
    events = sent(file, digest, sparse, offset, length)
    expected = file.read_bytes()[offset : offset + length]
    assert content(events) == expected
    if digest:
        assert cast(End, events[-1]).message["sha256"] == hashlib.sha256(expected).hexdigest()


@pytest.mark.parametrize("digest", [False, True])
def test_holes_are_left_out_wherever_they_are(tmp_path: Path, digest: bool) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for start in (1 << 20, 3 << 20):
            file.seek(start)
            file.write(os.urandom(65536))
        file.truncate(8 << 20)
    events = sent(path, digest, sparse=True, length=1 << 40)
    assert content(events) == path.read_bytes()
    assert [type(event) for event in events] == [Skip, Data, Skip, Data, Skip, End]


def set_requests_active(monkeypatch: pytest.MonkeyPatch, active: Callable[[], bool]) -> None:
    monkeypatch.setattr(Throttle, "requests_active", property(lambda throttle: active()))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("turns", [(True,), (True, False), (False,) * 5 + (True,) * 7])
def test_a_digest_is_that_of_the_file_whoever_computes_which_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: tuple[bool, ...], sparse: bool
) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for start in (0, 2 << 20, 4 << 20):
            file.seek(start)
            file.write(os.urandom(1 << 20))
        file.truncate(6 << 20)
    whole = path.read_bytes()
    set_requests_active(monkeypatch, cycle(turns).__next__)
    events = sent(path, digest=True, sparse=sparse, length=1 << 40)
    assert content(events) == whole
    if not sparse:
        assert cast(End, events[-1]).message["sha256"] == hashlib.sha256(whole).hexdigest()
    else:
        assert sum(isinstance(event, Skip) for event in events) == 3


def test_what_is_in_memory_takes_no_worker_while_requests_come(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(self: FileSource, job: object, done: object) -> None:
        raise AssertionError("a worker was asked")

    set_requests_active(monkeypatch, lambda: True)
    monkeypatch.setattr(FileSource, "work", work)
    events = sent(file, digest=True, sparse=False)
    assert content(events) == file.read_bytes()
    assert max(len(cast(Data, event).payload) for event in events[:-1]) <= 16 * 1024


def test_a_file_on_tmpfs_takes_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        pytest.skip("with swap space, a file on tmpfs may be on a disk")

    def work(self: FileSource, job: object, done: object) -> None:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr(FileSource, "work", work)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(os.urandom(SIZE))
        file.flush()
        assert content(sent(Path(file.name), digest=False, sparse=True)) == Path(file.name).read_bytes()


@pytest.mark.parametrize("misses", [1, 5])
def test_a_worker_takes_over_where_a_file_is_not_in_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch, misses: int
) -> None:
    calls: list[int] = []
    preadv = os.preadv

    def read(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        calls.append(flags)
        if flags and len(calls) >= misses:
            raise BlockingIOError
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)
    assert content(sent(file, digest=False, sparse=False)) == file.read_bytes()
    # The first call finds out whether the filesystem has the flag.
    tries = max(misses, 2)
    assert calls[:tries] == [NOWAIT] * tries
    assert not any(calls[tries:])


def test_a_system_that_cannot_read_from_memory_only_is_served_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nowait, "NOWAIT", 0)
    assert content(sent(file, digest=False, sparse=True)) == file.read_bytes()


def test_no_more_is_read_ahead_than_there_are_buffers(file: Path) -> None:
    loop = Loop()
    channel = SlowChannel(loop)
    streams = channel.streams = Streams(loop, Workers(2), cast(Any, channel), Throttle(), 10, count(1).__next__)
    source = FileSource(os.open(file, os.O_RDONLY), 0, SIZE, digest=True, sparse=False, throttle=Throttle())
    streams.open(source, 1).start()
    loop.call_later(0.3, loop.stop)
    loop.run()
    held = sum(len(cast(memoryview, piece)) - HEADER_SIZE for piece, _ in source._ready)
    assert 0 < held <= 6 * FRAME_SIZE
    streams.close()
    assert not source._ready


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("digest", [False, True])
def test_a_file_that_becomes_shorter_is_an_error(
    file: Path, digest: bool, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = FileSource.pull

    def shrinking(self: FileSource, size: int) -> Any:
        piece = pull(self, size)
        if self._offset > SIZE // 2:
            os.truncate(file, SIZE // 3)
        return piece

    monkeypatch.setattr(FileSource, "pull", shrinking)
    end = sent(file, digest, sparse)[-1]
    assert isinstance(end, Reset)
    assert (end.error.code, end.error.text) == (errno.ESTALE, "the file became shorter while it was read; try again")


def test_a_file_that_grows_is_sent_up_to_its_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pull = FileSource.pull
    added = iter([b"more"])

    def growing(self: FileSource, size: int) -> Any:
        with file.open("ab") as opened:
            opened.write(next(added, b""))
        return pull(self, size)

    monkeypatch.setattr(FileSource, "pull", growing)
    assert content(sent(file, digest=True, sparse=False, length=2 * SIZE)) == file.read_bytes()


def test_a_file_whose_size_is_not_true_is_sent(tmp_path: Path) -> None:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.exists():
        path = Path("/sys/kernel/uevent_seqnum")
    assert path.stat().st_size > len(path.read_bytes())
    assert content(sent(path, digest=True, sparse=False)) == path.read_bytes()
