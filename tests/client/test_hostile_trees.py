"""A guest that sends tar streams which are made to do harm: nothing outside of the directory is touched."""

from __future__ import annotations

import os
import resource
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    GuestTimeoutError,
    MockTransport,
    PhoenixError,
    ProtocolError,
    StreamError,
    TransferIncompleteError,
    connect_sync,
)
from phoenix_ga.wire.frames import DATA, END, WINDOW, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from phoenix_ga.wire.units import Frame
from tests.client.conftest import Talk

OPENED = {"stream": 9, "stderr": 10}
LINK = tarfile.SYMTYPE
HARD_LINK = tarfile.LNKTYPE
DIRECTORY = tarfile.DIRTYPE


def frames(content: bytes, stream: int = 9) -> bytes:
    pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    return b"".join(encode_header(DATA, stream, len(piece)) + piece for piece in pieces)


def end(stream: int, **message: Any) -> bytes:
    return Stream(stream, credit=0, window=0).end(message)


def answer(content: bytes, message: Any = None, told: bytes = b"") -> Callable[[Request], bytes]:
    """Return what answers a request for a directory with this tar stream."""
    last = end(9, **({"status": 0} if message is None else message))
    return lambda request: b"".join(
        [*encode_return(OPENED, request.tag), frames(content), last, frames(told, 10), end(10)]
    )


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", **more: Any) -> bytes:
    """Return one member as tarfile writes it, whatever is in it."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    for key, value in more.items():
        setattr(member, key, value)
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def file(name: str, content: bytes = b"evil") -> bytes:
    return header(name, size=len(content)) + content + bytes(-len(content) % 512)


def extended(body: bytes, kind: bytes = b"x") -> bytes:
    member = tarfile.TarInfo("pax")
    member.type, member.size = kind, len(body)
    return member.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    length = len(text) + 1
    while len(text) + len(str(length)) != length:
        length += 1
    return b"%d" % length + text


MARK = bytes(1024)

# What comes, the error if there is one, and what is in the directory then.
HOSTILE: dict[str, tuple[bytes, type[Exception] | None, set[str]]] = {
    "a name with dots": (file("../../escaped"), ProtocolError, set()),
    "dots in the middle": (file("a/../../escaped"), ProtocolError, set()),
    "an absolute name": (file("/tmp/phoenix-escaped"), ProtocolError, set()),
    "an absolute name in an extended header": (
        extended(record("path", "/tmp/phoenix-escaped")) + file("x"),
        ProtocolError,
        set(),
    ),
    "a link out": (header("link", LINK, link="../outside"), None, set()),
    "an absolute link": (header("link", LINK, link="/etc/passwd"), None, set()),
    "a link out and a file through it": (
        header("link", LINK, link="../outside") + file("link/escaped"),
        None,
        {"link"},
    ),
    "a link in and a file through it": (
        header("d", DIRECTORY, mode=0o755) + header("link", LINK, link="d") + file("link/through"),
        TransferIncompleteError,
        {"d", "link"},
    ),
    "two links that lead out together": (
        header("l2", LINK, link="x/y/l1/../secret")
        + header("x/y", DIRECTORY, mode=0o755)
        + header("x/y/l1", LINK, link="../.."),
        None,
        {"x"},
    ),
    "a link up through a link that comes later": (
        header("l", LINK, link="m/../../outside")
        + header("n", LINK, link="d/../m/../../outside")
        + header("d", DIRECTORY, mode=0o755)
        + header("m", LINK, link="d"),
        None,
        {"d", "m"},
    ),
    "a link up through a directory that a link is to replace": (
        header("d", DIRECTORY, mode=0o755) + header("l", LINK, link="d/../x") + header("d", LINK, link="d/../.."),
        None,
        {"d", "l"},
    ),
    "a file over a link": (
        header("link", LINK, link="inner") + file("link"),
        None,
        {"link"},
    ),
    "a hard link out": (header("h", HARD_LINK, link="../outside/file"), ProtocolError, set()),
    "an absolute hard link": (header("h", HARD_LINK, link="/etc/passwd"), ProtocolError, set()),
    "a hard link through a link": (
        header("d", DIRECTORY, mode=0o755)
        + header("d/l", LINK, link="..")
        + file("f")
        + header("h", HARD_LINK, link="d/l/f"),
        TransferIncompleteError,
        {"d", "f"},
    ),
    "a hard link to nothing": (header("h", HARD_LINK, link="missing"), None, set()),
    "a character device": (header("null", tarfile.CHRTYPE, devmajor=1, devminor=3), None, set()),
    "a block device": (header("disk", tarfile.BLKTYPE, devmajor=8), None, set()),
    "a FIFO": (header("fifo", tarfile.FIFOTYPE), None, set()),
    "an old sparse file": (header("s", tarfile.GNUTYPE_SPARSE), ProtocolError, set()),
    "a sparse file with a map without end": (
        extended(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")) + file("s"),
        ProtocolError,
        set(),
    ),
    "a long name of GNU": (header("././@LongLink", b"L", size=512) + b"x" * 512, ProtocolError, set()),
    "a global header": (extended(record("path", "x"), b"g"), ProtocolError, set()),
    "an unknown kind": (header("?", b"?"), ProtocolError, set()),
    "garbage": (b"this is no tar archive " * 100, ProtocolError, set()),
    "a wrong checksum": (b"X" + file("x")[1:], ProtocolError, set()),
    "a name of 100,000 bytes": (file("x" * 100_000), ProtocolError, set()),
    "a part of a name of 300 bytes": (file("x" * 300), TransferIncompleteError, set()),
    "an extended header of 7 GiB": (
        header("h", b"x", size=7 * 2**30),
        ProtocolError,
        set(),
    ),
    "an extended header that is none": (extended(b"9" * 20_000) + file("x"), ProtocolError, set()),
    "a record that goes on beyond its header": (extended(b"999 path=x\n") + file("x"), ProtocolError, set()),
    "headers for headers": (extended(record("path", "x")) * 2000 + file("x"), ProtocolError, set()),
    "a name that holds a zero byte": (extended(b"12 path=a\0b\n") + file("x"), ProtocolError, set()),
    "10,000 directories deep": (header("d/" * 10_000 + "x", DIRECTORY), ProtocolError, set()),
    "a size that no disk has": (header("x", size=2**62), OSError, set()),
    "a size below zero": (extended(record("size", "-5")) + file("x"), ProtocolError, set()),
    "a time that cannot be": (extended(record("mtime", "9" * 19)) + file("x"), ProtocolError, set()),
    "a time that is none": (extended(record("mtime", "now")) + file("x"), ProtocolError, set()),
    "an owner that cannot be": (extended(record("uid", "9" * 19)) + file("x"), ProtocolError, set()),
    "a name twice": (file("x", b"one") + file("x", b"evil"), None, {"x"}),
    "a file over a directory": (
        header("d", DIRECTORY, mode=0o755) + file("d/in") + file("d"),
        TransferIncompleteError,
        {"d"},
    ),
    "a directory over a file": (
        file("f") + header("f", DIRECTORY, mode=0o755) + file("f/in"),
        TransferIncompleteError,
        {"f"},
    ),
    "the root as a file": (file("."), ProtocolError, set()),
    "the root as a link": (header(".", LINK, link="../outside"), ProtocolError, set()),
    "a directory with data": (header("d", DIRECTORY, size=512) + bytes(512), ProtocolError, set()),
    "more after the end": (file("x") + MARK + b"more", ProtocolError, {"x"}),
    "set-ID bits": (header("x", mode=0o6755), None, {"x"}),
    "control characters": (file("\x1b[2J\n"), None, {"\x1b[2J\n"}),
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("untouched")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def assert_untouched(target: Path) -> None:
    outside = target.parent / "outside"
    assert sorted(os.listdir(target.parent)) == ["outside", "target"]
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == "untouched"
    assert (outside / "file").stat().st_nlink == 1
    assert not os.path.lexists("/tmp/phoenix-escaped")
    for directory, _, names in os.walk(target):
        assert not [name for name in names if name.endswith("-part")], directory


@pytest.mark.parametrize(("content", "error", "there"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_tar_that_is_made_to_do_harm(
    talk: Talk, target: Path, content: bytes, error: type[Exception] | None, there: set[str]
) -> None:
    transport = MockTransport({"directory-get": answer(content + MARK)})
    start = time.monotonic()
    if error is None:
        talk(transport, "get_tree", "/x", target)
    else:
        with pytest.raises(error) as caught:
            talk(transport, "get_tree", "/x", target)
        assert str(caught.value).isprintable()
        if isinstance(caught.value, PhoenixError):
            assert caught.value.request is not None
            assert caught.value.request.execute == "directory-get"
    assert time.monotonic() - start < 30
    assert_untouched(target)
    assert set(os.listdir(target)) == there
    for name in there:
        assert (target / name).lstat().st_mode & 0o6000 == 0


@pytest.mark.parametrize("length", [0, 1, 511, 512, 600, 1023, 1024, 1100, 1536, 1600, 2047])
def test_a_stream_that_ends_too_early_leaves_whole_files_only(talk: Talk, target: Path, length: int) -> None:
    content = (file("first") + file("second") + MARK)[:length]
    with pytest.raises(ProtocolError, match="is truncated"):
        talk(MockTransport({"directory-get": answer(content)}), "get_tree", "/x", target)
    assert_untouched(target)
    assert all((target / name).read_bytes() == b"evil" for name in os.listdir(target))


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        ({"status": 2}, TransferIncompleteError, "status 2: /x: Input/output error"),
        ({"signal": 9}, TransferIncompleteError, "SIGKILL"),
        ({"status": 0}, ProtocolError, "is truncated"),
        ({"status": "evil"}, ProtocolError, "not an integer"),
    ],
)
def test_a_guest_that_gives_up_is_quoted(
    talk: Talk, target: Path, message: Any, error: type[Exception], text: str
) -> None:
    reply = answer(file("x")[:514], message, b"missing: /x: Input/output error\n")
    with pytest.raises(error, match=text):
        talk(MockTransport({"directory-get": reply}), "get_tree", "/x", target)
    assert os.listdir(target) == []


def test_what_a_guest_tells_is_bounded_and_harmless(talk: Talk, target: Path) -> None:
    told = b"note: \x1b[2J\xff\r\x85\xe2\x80\xa8\n" + b"note: x\n" * 20_000
    result = talk(MockTransport({"directory-get": answer(MARK, None, told)}), "get_tree", "/x", target)
    assert 1000 < len(result.notes) < 10_000
    assert all(note.isprintable() for note in result.notes)


@pytest.mark.parametrize(
    "piece", [file("x"), file("x/y/z"), header("d", DIRECTORY)], ids=["file", "deep", "directory"]
)
def test_an_endless_stream_ends_at_the_limit_within_bounded_memory(target: Path, piece: bytes) -> None:
    piece *= 65536 // len(piece)
    frame = encode_header(DATA, 9, len(piece)) + piece

    def more(sent: Frame) -> bytes:
        return frame * (int.from_bytes(sent.payload, "big") // len(piece)) if sent.type == WINDOW else b""

    transport = MockTransport(
        {"directory-get": lambda request: b"".join([*encode_return(OPENED, request.tag), frame * 8])}, on_frame=more
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect_sync(transport) as guest, pytest.raises(ProtocolError, match="which is the limit"):
        guest.get_tree("/x", target, limit=700_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert_untouched(target)


def test_an_endless_file_ends_at_the_limit(target: Path) -> None:
    frame = encode_header(DATA, 9, 65536) + bytes(65536)

    def more(sent: Frame) -> bytes:
        return frame * (int.from_bytes(sent.payload, "big") // 65536) if sent.type == WINDOW else b""

    start = frames(header("x", size=10**9))
    transport = MockTransport(
        {"directory-get": lambda request: b"".join([*encode_return(OPENED, request.tag), start, frame * 15])},
        on_frame=more,
    )
    with connect_sync(transport) as guest, pytest.raises(ProtocolError, match="which is the limit"):
        guest.get_tree("/x", target, limit=10_000_000)
    assert os.listdir(target) == []


def test_a_guest_that_falls_silent_is_not_waited_for_for_ever(talk: Talk, target: Path) -> None:
    half = frames(file("x")[:514])
    silent = {"directory-get": lambda request: b"".join([*encode_return(OPENED, request.tag), half])}
    with pytest.raises(GuestTimeoutError, match="no progress"):
        talk(MockTransport(silent), "get_tree", "/x", target, options={"timeout": 0.2})
    assert os.listdir(target) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("phoenix-tree")]


def test_a_stream_that_is_reset_is_told(talk: Talk, target: Path) -> None:
    reset = Stream(9, credit=0, window=0).reset("out of memory", 12)
    broken = {"directory-get": lambda request: b"".join([*encode_return(OPENED, request.tag), reset])}
    with pytest.raises(StreamError, match="out of memory"):
        talk(MockTransport(broken), "get_tree", "/x", target)


def test_a_directory_that_was_made_for_nothing_is_removed(talk: Talk, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError):
        talk(MockTransport({"directory-get": answer(b"garbage" * 200)}), "get_tree", "/x", tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


def test_a_put_to_a_guest_that_gives_up_says_why(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    given_up = end(9, status=2) + frames(b"missing: file: No space left on device\n", 10) + end(10)

    def give_up(frame: Frame) -> bytes:
        return given_up if frame.type == DATA else b""

    transport = MockTransport({"directory-put": {**OPENED, "window": 65536}}, on_frame=give_up)
    with pytest.raises(TransferIncompleteError, match="No space left") as caught:
        talk(transport, "put_tree", tmp_path, "/x")
    assert caught.value.missing == ("file: No space left on device",)


def test_a_put_waits_for_no_credit_for_ever(talk: Talk, tmp_path: Path) -> None:
    transport = MockTransport({"directory-put": {**OPENED, "window": 0}})
    with pytest.raises(GuestTimeoutError, match="no progress"):
        talk(transport, "put_tree", tmp_path, "/x", options={"timeout": 0.2})
    assert [frame.type for frame in transport.frames if frame.type == END] == []
