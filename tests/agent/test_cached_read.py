"""Reading what is in memory: all of it, or nothing and the file is left where it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.linux import nowait_read as cached_read
from phoenix_ga.agent.linux.nowait_read import read_cached

SIZE = 200_000


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_pieces_in_a_row_are_the_file_and_the_last_one_says_so(file: int) -> None:
    pieces, ended = [], False
    while not ended:
        data, ended = read_cached(file, 48 * 1024)
        pieces.append(bytes(data))
    assert b"".join(pieces) == os.pread(file, SIZE, 0)
    assert [len(piece) for piece in pieces] == [49152] * 4 + [SIZE - 4 * 49152]


def test_a_file_that_ends_with_a_piece_ends_with_the_next_read(file: int) -> None:
    os.lseek(file, SIZE - 1000, os.SEEK_SET)
    assert read_cached(file, 1000)[1] is False
    data, ended = read_cached(file, 1000)
    assert (len(data), ended) == (0, True)


@pytest.mark.parametrize("there", [0, 1000])
def test_what_is_not_in_memory_is_left_to_others(file: int, monkeypatch: pytest.MonkeyPatch, there: int) -> None:
    preadv = os.preadv

    def read(fd: int, buffers: tuple[memoryview], offset: int, flags: int) -> int:
        if offset >= 5000 + there:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return preadv(fd, (buffers[0][: 5000 + there - offset],), offset, flags)

    monkeypatch.setattr(os, "preadv", read)
    os.lseek(file, 5000, os.SEEK_SET)
    with pytest.raises(BlockingIOError):
        read_cached(file, 4096)
    assert os.lseek(file, 0, os.SEEK_CUR) == 5000


@pytest.mark.parametrize("count", [0, 96 * 1024 + 1])
def test_nothing_and_very_much_are_left_to_others(file: int, count: int) -> None:
    with pytest.raises(OSError, match="not supported"):
        read_cached(file, count)


def test_a_system_that_cannot_tell_leaves_all_to_others(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_read, "NOWAIT", 0)
    with pytest.raises(OSError, match="not supported"):
        read_cached(file, 10)


def test_a_pipe_loses_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"kept")
    with pytest.raises(OSError, match="Illegal seek"):
        read_cached(reading, 10)
    assert os.read(reading, 10) == b"kept"
    os.close(reading)
    os.close(writing)
