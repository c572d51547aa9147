"""A directory that changes while it is sent: what comes out is a sound archive, and all that is odd is told."""

from __future__ import annotations

import os
import resource
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client.new_directory import NewDirectory
from phoenix_ga.trees.headers import (
    DIRECTORY,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    ArchiveError,
    format_time,
    parse_time,
)
from phoenix_ga.trees.members import DEPTH_MAX, END, Member, Source, StreamFailed, split_name
from phoenix_ga.trees.pack import Packer
from phoenix_ga.trees.report import Report, shown
from phoenix_ga.trees.unpack import Rules, Unpacker

PIECE = 256 * 1024


def pack(root: Path, when: bytes = b"", change: Callable[[], object] = lambda: None) -> tuple[bytes, list[str]]:
    """Return the archive and what was told. change: is called when the header of the member `when` was written."""
    output = bytearray()
    told: list[str] = []

    def write(data: bytes) -> None:
        if when and data.startswith(when + b"\0"):
            change()
        output.extend(data)

    Packer(write, Report(told.append)).pack(os.fsencode(root))
    return bytes(output), told


def contents(archive: bytes) -> dict[str, bytes]:
    """Return the files in an archive, as tarfile reads them."""
    found = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r:") as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            if file is not None:
                found[member.name] = file.read()
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * (PIECE * 2))
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "in").touch()
    return tmp_path


def test_files_and_directories_that_vanish_are_noted(root: Path) -> None:
    def change() -> None:
        (root / "b").unlink()
        (root / "d" / "in").unlink()
        (root / "d").rmdir()

    archive, told = pack(root, b"a", change)
    assert sorted(contents(archive)) == ["a", "c"]
    assert told == ["note: b: vanished meanwhile", "note: d: vanished meanwhile"]


def test_a_file_that_shrinks_is_filled_with_zeros_and_noted(root: Path) -> None:
    archive, told = pack(root, b"b", lambda: os.truncate(root / "b", PIECE + 5))
    assert contents(archive)["b"] == b"b" * (PIECE + 5) + bytes(PIECE - 5)
    assert contents(archive)["c"] == b"c" * (PIECE * 2)
    assert told == [f"missing: b: became shorter meanwhile; from byte {PIECE + 5} on, the copy holds zeros"]


def test_of_a_file_that_grows_comes_what_was_there(root: Path) -> None:
    archive, told = pack(root, b"b", lambda: os.truncate(root / "b", 10 * PIECE))
    assert contents(archive)["b"] == b"b" * (PIECE * 2)
    assert told == []


def test_a_file_that_becomes_a_link_is_not_followed(root: Path) -> None:
    def change() -> None:
        (root / "b").unlink()
        (root / "b").symlink_to("/etc/passwd")

    archive, told = pack(root, b"a", change)
    assert b"root:" not in archive
    assert told == []


def test_a_reader_that_fails_is_no_fault_of_a_file(root: Path) -> None:
    def write(data: bytes) -> None:
        raise FileNotFoundError(2, "nobody reads")

    with pytest.raises(StreamFailed) as caught:
        Packer(write, Report(lambda line: None)).pack(str(root))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_tree_deeper_than_any_should_be_is_cut_and_told(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(DEPTH_MAX + 5):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    archive, told = pack(tmp_path)
    assert len(told) == 1
    assert f"more than {DEPTH_MAX} directories deep" in told[0]
    (tmp_path / "copy").mkdir()
    Unpacker(Source(iter([archive, b""]).__next__), Rules(False, False, False), Report(told.append)).unpack(
        str(tmp_path / "copy"), True
    )
    assert len(told) == 1


def test_of_very_many_lines_the_first_are_told() -> None:
    told: list[str] = []
    report = Report(told.append)
    for number in range(1000):
        report.miss(b"%d" % number, "gone")
    assert (report.missing, len(told)) == (1000, 100)
    assert told[-1] == "note: more lines are not shown"


def test_names_are_shown_as_one_harmless_line() -> None:
    assert shown(b"a\n\x1b[2J\xe9\xc2\x85") == "a\\n\\x1b[2J\\xe9\\x85"
    assert len(shown(b"\n" * 10_000)) < 400


@pytest.mark.parametrize("nanoseconds", [0, 1, -1, 10**9, -(10**9), 1_700_000_000_123_456_789, -1_500_000_000])
def test_times_are_exact(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds
    source = Source(iter([Member(b"x", b"0", mtime=nanoseconds).header(), b""]).__next__)
    member = source.next_member()
    assert member is not None
    assert member.mtime == nanoseconds


@pytest.mark.parametrize("text", [b"", b"-", b".5", b"1e9", b"0x1", b"1.-5", b"9" * 30, b"nan", b"--1", b"1.2.3"])
def test_what_is_no_time(text: bytes) -> None:
    with pytest.raises(ArchiveError):
        parse_time(text)


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 100_000])
def test_however_the_stream_is_cut_the_tree_is_the_same(root: Path, tmp_path: Path, size: int) -> None:
    (root / "a").write_bytes(b"x" * 1000)
    for name in ("b", "c"):
        (root / name).unlink()
    archive, _ = pack(root)
    pieces = iter([archive[start : start + size] for start in range(0, len(archive), size)])
    told: list[str] = []
    with NewDirectory(os.fsencode(tmp_path / "made" / "copy")) as directory:
        unpacker = Unpacker(Source(lambda: next(pieces, b"")), Rules(False, False, False), Report(told.append))
        unpacker.unpack(directory.path, directory.is_new)
    assert (tmp_path / "made" / "copy" / "a").read_bytes() == b"x" * 1000
    assert sorted(os.listdir(tmp_path / "made" / "copy")) == ["a", "d"]
    assert told == []


@pytest.mark.parametrize("name", [b"/x", b"..", b"a/..", b"a/../b", b"a\0b", b"d/" * 300, b"x" * 70_000])
def test_names_that_lead_elsewhere(name: bytes) -> None:
    with pytest.raises(ArchiveError):
        split_name(name)


def test_a_disk_without_nameless_files_gets_whole_files_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, _ = pack(root)
    real = os.open

    def without(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", without)
    for length, complete in ((len(archive), True), (len(archive) - 200_000 - 512 * 20, False)):
        copy = tmp_path / f"copy {length}"
        copy.mkdir()
        unpacker = Unpacker(
            Source(iter([archive[:length], b""]).__next__), Rules(False, False, False), Report(lambda line: None)
        )
        if complete:
            unpacker.unpack(str(copy), True)
            assert sorted(os.listdir(copy)) == ["a", "b", "c", "d"]
        else:
            with pytest.raises(ArchiveError):
                unpacker.unpack(str(copy), True)
            assert sorted(os.listdir(copy)) == ["a", "b"]


def unpack(archive: bytes, target: Path) -> list[str]:
    """Unpack into a new directory, and return what was told."""
    target.mkdir()
    told: list[str] = []
    Unpacker(Source(iter([archive, b""]).__next__), Rules(False, False, False), Report(told.append)).unpack(
        str(target), True
    )
    return told


def test_files_are_on_the_disk_before_they_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    plain_sync, plain_link, plain_rename = os.fsync, os.link, os.rename

    def fsync(fd: int) -> None:
        calls.append(f"fsync {os.fstat(fd).st_size}")
        plain_sync(fd)

    def link(old: str, new: bytes, **where: Any) -> None:
        if not new.endswith(b"-part"):
            calls.append(f"link {os.fsdecode(new)}")
        plain_link(old, new, **where)

    def rename(old: bytes, new: bytes, **where: int) -> None:
        calls.append(f"rename {os.fsdecode(new)}")
        plain_rename(old, new, **where)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "rename", rename)
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(b"1")
    (source / "three").write_bytes(b"333")
    archive, told = pack(source)
    told += unpack(archive, tmp_path / "copy")
    assert sorted(calls[:2]) == ["fsync 1", "fsync 3"]
    assert calls[2:] == ["link one", "link three"]
    # A second time, they replace those that are there.
    del calls[:]
    (tmp_path / "copy" / "one").write_bytes(b"old")
    Unpacker(Source(iter([archive, b""]).__next__), Rules(False, False, False), Report(told.append)).unpack(
        str(tmp_path / "copy"), False
    )
    assert sorted(calls[:2]) == ["fsync 1", "fsync 3"]
    assert calls[2:] == ["link one", "rename one", "link three", "rename three"]
    assert (tmp_path / "copy" / "one").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path / "copy")) == ["one", "three"]
    assert told == []


def test_a_file_that_does_not_get_to_the_disk_is_missing_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_sync = os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_size == 7:
            raise OSError(22, "Invalid argument")
        plain_sync(fd)

    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02}").write_bytes(b"x" * number)
    archive, _ = pack(source)
    monkeypatch.setattr(os, "fsync", fsync)
    assert unpack(archive, tmp_path / "copy") == ["missing: 07: Invalid argument"]
    assert sorted(os.listdir(tmp_path / "copy")) == [f"{number:02}" for number in range(40) if number != 7]


def test_a_disk_that_fails_ends_it_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(fd: int) -> None:
        raise OSError(5, "Input/output error")

    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    for number in range(300):
        (source / "d" / f"{number:02}").touch()
    archive, _ = pack(source)
    monkeypatch.setattr(os, "fsync", fsync)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Input/output error"):
        unpack(archive, tmp_path / "copy")
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert os.listdir(tmp_path / "copy" / "d") == []


def test_more_files_than_can_be_open(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(500):
        path = source / f"d{number // 10}"
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number}").write_bytes(b"%d" % number)
        os.utime(path, (5, 5))
    archive, told = pack(source)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard))
    try:
        told += unpack(archive, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told == []
    for number in range(500):
        assert (tmp_path / "copy" / f"d{number // 10}" / f"{number}").read_bytes() == b"%d" % number
        assert (tmp_path / "copy" / f"d{number // 10}").stat().st_mtime == 5


def test_names_that_collide_take_their_places_in_the_order_of_the_stream(tmp_path: Path) -> None:
    def file(name: bytes, content: bytes) -> bytes:
        return Member(name, FILE, size=len(content)).header() + content + bytes(-len(content) % 512)

    def link(name: bytes, target: bytes, kind: bytes = SYMBOLIC_LINK) -> bytes:
        return Member(name, kind, link=target).header()

    stream = b"".join(
        [
            *(file(b"twice", b"first"), file(b"twice", b"second")),
            *(file(b"a", b"file"), link(b"a", b"elsewhere")),
            *(link(b"b", b"elsewhere"), file(b"b", b"file")),
            *(file(b"c", b"file"), Member(b"c", DIRECTORY).header(), file(b"c/in", b"in")),
            *(file(b"e", b"file"), file(b"e/in", b"in")),
            *(file(b"f", b"file"), link(b"g", b"f", HARD_LINK), file(b"f", b"later"), link(b"h", b"f", HARD_LINK)),
        ]
    )
    told = unpack(stream + END, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["a", "b", "c", "e", "f", "g", "h", "twice"]
    assert os.readlink(copy / "a") == "elsewhere"
    assert not (copy / "b").is_symlink()
    assert {name: (copy / name).read_text() for name in ("b", "c", "e", "f", "g", "h", "twice")} == {
        **dict.fromkeys(("b", "c", "e", "g"), "file"),
        "f": "later",
        "h": "later",
        "twice": "second",
    }
    assert [line.split(":")[1] for line in told] == [" c", " c/in", " e/in"]
