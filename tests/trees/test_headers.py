"""Tar headers: what is written is what tarfile writes and others read, and what is read is no looser than tarfile."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_ga.trees import headers
from phoenix_ga.trees.headers import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SECOND,
    SYMBOLIC_LINK,
    ArchiveError,
    Header,
    encode_header,
    format_time,
)
from phoenix_ga.trees.members import END, Member, Source
from phoenix_ga.trees.pack import Packer
from phoenix_ga.trees.report import Report

KINDS = (FILE, HARD_LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO)

#: Short and long, of one or of several parts, in ASCII, in UTF-8 and in neither.
PARTS = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.text(min_size=1, max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    st.integers(90, 255).map(lambda length: b"n" * length),
).map(lambda part: part.replace(b"/", b"_").replace(b"\0", b"_"))
NAMES = st.lists(PARTS.filter(lambda part: part not in (b".", b"..")), min_size=1, max_size=4).map(b"/".join)
LINKS = st.lists(PARTS, max_size=4).map(b"/".join)
IDS = st.one_of(st.integers(0, 2**32 - 2), st.sampled_from((0, 1000, 8**7 - 1, 8**7)))
SIZES = st.one_of(st.integers(0, 2**63 - 1), st.sampled_from((0, 1, 8**11 - 1, 8**11)))
TIMES = st.one_of(
    st.integers(-(2**34) * SECOND, 2**34 * SECOND),
    st.integers(-(2**34), 2**34).map(lambda seconds: seconds * SECOND),
    st.sampled_from((8**11 - 1, 8**11)).map(lambda seconds: seconds * SECOND),
)


@st.composite
def members(draw: st.DrawFn) -> Member:
    """Return any member that can be written."""
    kind = draw(st.sampled_from(KINDS))
    return Member(
        draw(NAMES),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(SIZES) if kind == FILE else 0,
        draw(IDS),
        draw(IDS),
        draw(TIMES),
        draw(NAMES) if kind == HARD_LINK else draw(LINKS) if kind == SYMBOLIC_LINK else b"",
        (draw(st.integers(0, 2**12 - 1)), draw(st.integers(0, 2**20 - 1)))
        if kind in (CHARACTER_DEVICE, BLOCK_DEVICE)
        else (0, 0),
    )


def by_tarfile(member: Member) -> bytes:
    """Return a header as tarfile writes it."""
    information = tarfile.TarInfo((member.name or b".").decode("utf-8", "surrogateescape"))
    information.type, information.mode, information.size = member.kind, member.mode, member.size
    information.uid, information.gid = member.uid, member.gid
    information.linkname = member.link.decode("utf-8", "surrogateescape")
    information.devmajor, information.devminor = member.device
    seconds, fraction = divmod(member.mtime, SECOND)
    if fraction or seconds < 0:
        information.pax_headers = {"mtime": format_time(member.mtime).decode()}
    else:
        information.mtime = seconds
    return information.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def fields(member: Member) -> list[object]:
    return [getattr(member, name) for name in Member.__slots__]


@given(members())
@example(Member(b"", DIRECTORY, 0o755))
@example(Member(b"n" * 99, DIRECTORY))
@example(Member(b"n" * 100, DIRECTORY))
@example(Member(b"n" * 100, FILE))
@example(Member(b"n" * 101, FILE))
def test_a_header_is_that_of_tarfile_byte_by_byte(member: Member) -> None:
    assert member.header() == by_tarfile(member)


@given(members())
def test_what_was_written_is_read_again(member: Member) -> None:
    data = iter([member.header() + END])
    read = Source(lambda: next(data, b"")).next_member()
    assert read is not None
    assert fields(read) == fields(member)


@given(st.data(), members())
def test_a_block_that_is_read_means_to_tarfile_what_it_means_here(data: st.DataObject, member: Member) -> None:
    """Blocks are damaged, and have a right checksum again."""
    block = bytearray(member.header()[-BLOCK:])
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, BLOCK - 1))
        piece = data.draw(
            st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\x80", b"\xff\xff", b"7"]))
        )
        block[start : start + len(piece)] = piece[: BLOCK - start]
    if data.draw(st.booleans()):
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
    try:
        header = Header(bytes(block))
    except ArchiveError:
        return
    theirs = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
    assert (header.mode, header.uid, header.gid, header.size) == (theirs.mode, theirs.uid, theirs.gid, theirs.size)
    assert header.mtime == theirs.mtime
    assert header.link == theirs.linkname.encode("utf-8", "surrogateescape")
    if header.kind in KINDS:
        assert header.kind.replace(b"\0", FILE) == theirs.type.replace(b"\0", FILE)
        assert header.name.rstrip(b"/") == theirs.name.encode("utf-8", "surrogateescape").rstrip(b"/")
    if header.kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
        assert header.device == (theirs.devmajor, theirs.devminor)


@pytest.mark.parametrize(
    "field", [b"+000644\0", b"0o00644\0", b"00_0644\0", b"0000648\0", b"      -\0", b"\xa00644\0\0"]
)
def test_a_number_has_no_other_form(field: bytes) -> None:
    block = bytearray(encode_header(b"x", FILE, 0o644, 0, 0, 0, 0))
    block[100:108] = field
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ArchiveError, match="not octal"):
        Header(bytes(block))


@given(st.binary(max_size=4 * BLOCK), st.lists(st.integers(1, 700), max_size=20), members())
def test_no_bytes_do_anything_but_end_or_be_refused(data: bytes, cuts: list[int], member: Member) -> None:
    """However a stream is cut, the same members are read, and then the same error."""
    stream = member.header() + data

    def read(pieces: list[bytes]) -> list[object]:
        left = iter(pieces)
        source = Source(lambda: next(left, b""))
        found: list[object] = []
        try:
            while (one := source.next_member()) is not None:
                found.append(fields(one))
            source.finish()
        except ArchiveError as error:
            found.append(str(error))
        return found

    pieces, start = [], 0
    for cut in cuts:
        pieces.append(stream[start : start + cut])
        start += cut
    assert read([stream]) == read([piece for piece in [*pieces, stream[start:]] if piece])


@given(st.dictionaries(st.sampled_from((b"path", b"size", b"mtime", b"uid", b"junk", b"hdrcharset")), st.binary()))
def test_records_are_read_as_they_were_written_or_refused(records: dict[bytes, bytes]) -> None:
    from phoenix_ga.trees.headers import parse_records

    body = b""
    for key, value in records.items():
        rest = b" %b=%b\n" % (key, value)
        length = len(rest)
        while len(b"%d" % length) + len(rest) != length:
            length += 1
        body += b"%d" % length + rest
    assert parse_records(body) == records


def test_gnu_tar_lists_what_was_written_without_a_complaint(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / ("d" * 120)).mkdir(parents=True)
    (root / ("d" * 120) / "ü").write_bytes(b"x" * 700)
    (root / "link").symlink_to("l" * 120)
    os.link(root / ("d" * 120) / "ü", root / "other")
    (root / "empty").touch()
    archive = bytearray()
    Packer(archive.extend, Report(lambda line: None)).pack(str(root))
    (tmp_path / "there").mkdir()
    command = ["tar", "--extract", "--verbose", "--directory", str(tmp_path / "there")]
    done = subprocess.run(command, input=archive, capture_output=True, check=True)
    assert done.stderr == b""
    compared = subprocess.run(["tar", "--compare", "--directory", str(root)], input=archive, check=False)
    assert compared.returncode == 0
    assert (tmp_path / "there" / "other").read_bytes() == b"x" * 700


def test_a_wrong_checksum_is_refused_whatever_its_form() -> None:
    block = bytearray(encode_header(b"name", FILE, 0o644, 10, 0, 0, 0))
    total = int(block[148:154], 8)
    # Of the forms that programs write: six digits and NUL, seven, and blanks before them.
    for form in (b"%06o\0 ", b"%07o\0", b"%6o\0 "):
        block[148:156] = form % total
        assert Header(bytes(block)).size == 10
        for wrong in (total + 1, total - 1, total + 65521, total + 65536):
            block[148:156] = form % wrong
            with pytest.raises(ArchiveError, match="bad checksum"):
                Header(bytes(block))


def test_a_checksum_that_is_too_small_by_what_wraps_is_refused() -> None:
    block = bytearray(encode_header(b"\xff" * 100, FILE, 0o644, 10, 0, 0, 0))
    block[257:500] = b"\xff" * 243
    block[148:156] = b" " * 8
    total = sum(block)
    assert total > 65521
    block[148:156] = b"%06o\0 " % total
    headers.check(bytes(block))
    block[148:156] = b"%06o\0 " % (total - 65521)
    with pytest.raises(ArchiveError, match="bad checksum"):
        headers.check(bytes(block))


def test_many_different_numbers_take_bounded_memory() -> None:
    for number in range(3000):
        assert Header(encode_header(b"name", FILE, 0o644, number, 0, 0, 0)).size == number
    assert len(headers._known) <= 1000
