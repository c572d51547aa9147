"""Reading on the loop: all of what was asked for, or nothing, and the file offset is unchanged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core import nowait
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.nowait import WouldBlock, read_nowait
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.operations.handles import Handles, OpenFile
from phoenix_ga.agent.protocol.call import Call
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.wire.messages import Request

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
        data, ended = read_nowait(file, 48 * 1024)
        pieces.append(bytes(data))
    assert b"".join(pieces) == os.pread(file, SIZE, 0)
    assert [len(piece) for piece in pieces] == [49152] * 4 + [SIZE - 4 * 49152]


def test_a_file_that_ends_with_a_piece_ends_with_the_next_read(file: int) -> None:
    os.lseek(file, SIZE - 1000, os.SEEK_SET)
    assert read_nowait(file, 1000)[1] is False
    data, ended = read_nowait(file, 1000)
    assert (len(data), ended) == (0, True)


@pytest.mark.parametrize("there", [0, 1000])
def test_what_is_not_in_memory_is_left_to_a_worker(file: int, monkeypatch: pytest.MonkeyPatch, there: int) -> None:
    preadv = os.preadv

    def read(fd: int, buffers: tuple[memoryview], offset: int, flags: int) -> int:
        if offset >= 5000 + there:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return preadv(fd, (buffers[0][: 5000 + there - offset],), offset, flags)

    monkeypatch.setattr(os, "preadv", read)
    os.lseek(file, 5000, os.SEEK_SET)
    with pytest.raises(WouldBlock):
        read_nowait(file, 4096)
    assert os.lseek(file, 0, os.SEEK_CUR) == 5000


@pytest.mark.parametrize("count", [0, 96 * 1024 + 1])
def test_nothing_and_very_much_are_left_to_a_worker(file: int, count: int) -> None:
    with pytest.raises(WouldBlock):
        read_nowait(file, count)


def test_without_the_flag_everything_is_left_to_a_worker(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nowait, "NOWAIT", 0)
    with pytest.raises(WouldBlock):
        read_nowait(file, 10)


def test_a_pipe_loses_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"kept")
    with pytest.raises(WouldBlock):
        read_nowait(reading, 10)
    assert os.read(reading, 10) == b"kept"
    os.close(reading)
    os.close(writing)


def test_what_was_read_is_not_read_again_if_the_answer_cannot_be_encoded(file: int, tmp_path: Path) -> None:
    """A tag may be nested just so deeply that it can be read but not written."""
    context = Context(Config(run_directory=str(tmp_path)), Policy(), Log(), Handles(4), Loop(), lambda: None)
    dispatcher = Dispatcher(context, NATIVE, lambda: NATIVE)
    handle = context.handles.add(lambda: OpenFile(file, "file", False, True, b""))
    command = NATIVE.commands["file-read"]
    dispatcher.load(NATIVE, command)

    tag: list[Any] = []
    for _ in range(100_000):
        tag = [tag]
    call = Call(Request("file-read", {"handle_id": handle, "count": 10}, tag), 100, NATIVE)
    dispatcher.bind(call)
    answer = dispatcher.run_nowait(call)
    assert answer is not None
    assert b'"error"' in b"".join(answer)
    assert os.lseek(file, 0, os.SEEK_CUR) == 10
