"""Directories as streams of entries: those of an honest guest, and what a hostile one may send instead."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import FileStatus, MockTransport, ProtocolError, StreamError, connect, connect_sync
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream

LINE = ["name", *range(13)]


def sent(data: bytes, piece: int = 60_000, end: bool = True) -> Callable[[Request], bytes]:
    """Return what answers `directory-entries` with these bytes."""

    def answer(request: Request) -> bytes:
        stream = Stream(9, credit=1 << 30, window=0)
        pieces = [*encode_return({"stream": 9}, request.tag)]
        for start in range(0, len(data), piece):
            payload = data[start : start + piece]
            pieces += [stream.data_header(len(payload)), payload]
        return b"".join([*pieces, stream.end({}) if end else stream.reset("Input/output error", 5)])

    return answer


def line(*values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


async def scan(transport: MockTransport | str, path: str = "/x", names: bool = False) -> list[FileStatus]:
    async with connect(transport) as guest, guest.files.scan(path, names=names) as entries:
        return [entry async for entry in entries]


def test_entries_are_those_of_list(endpoint: str, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"file {number}").touch()
    (tmp_path / "directory").mkdir()
    os.utime(tmp_path / "file 7", ns=(-1, -(2**33) * 10**9 + 7))
    with connect_sync(endpoint) as guest:
        for names in (False, True):
            listed = guest.files.list(str(tmp_path), names=names)
            assert tuple(asyncio.run(scan(endpoint, str(tmp_path), names))) == listed
            with guest.files.scan(str(tmp_path), names=names) as entries:
                assert tuple(entries) == listed
        assert asyncio.run(scan(endpoint, str(tmp_path / "directory"))) == []
        with pytest.raises(NotADirectoryError):
            guest.files.scan(str(tmp_path / "file 7"))


def test_a_directory_larger_than_the_window_comes_as_it_is_read(endpoint: str, tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}").touch()

    async def conversation() -> None:
        async with connect(endpoint) as guest, guest.files.scan(str(tmp_path), window=1000) as entries:
            assert len(await entries.read_page()) < 20
            assert await guest.ping()
            assert len([entry async for entry in entries]) > 980

    asyncio.run(conversation())


@pytest.mark.parametrize("piece", [1, 7, 60_000])
def test_however_lines_are_cut_entries_are_whole(piece: int) -> None:
    data = b"".join(line(f"{number}", *range(13)) for number in range(50))
    found = asyncio.run(scan(MockTransport({"directory-entries": sent(data, piece)})))
    assert [entry.name for entry in found] == [f"{number}" for number in range(50)]
    assert (found[0].device, found[0].mode, found[0].changed) == (0, 3, 12)


@pytest.mark.parametrize(
    "data",
    [
        line(*LINE)[:-1],
        line(*LINE[:-1]),
        line(*LINE, "more"),
        line(5, *LINE[1:]),
        line(*LINE[:-1], True),
        line(*LINE[:-1], 1.0),
        line(*LINE[:-1], None),
        line(*LINE[:-1], 10**30),
        line(*LINE[:-1], -(10**30)),
        line(),
        b"\n",
        b"{}\n",
        b"null\n",
        b"[" * 50_000 + b"\n",
        b'["a", 1e999]\n',
        b"\xff\xfe\n",
        line(*LINE) + b"x" * 200_000,
        b"9" * 50_000 + b"\n",
    ],
)
def test_what_does_not_describe_entries_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        asyncio.run(scan(MockTransport({"directory-entries": sent(data)})))
    assert str(caught.value).isprintable()
    assert caught.value.request is not None


def test_a_directory_that_cannot_be_read_to_its_end_is_an_error() -> None:
    data = line(*LINE) * 3
    with pytest.raises(StreamError, match="Input/output error"):
        asyncio.run(scan(MockTransport({"directory-entries": sent(data, end=False)})))
