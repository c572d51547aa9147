"""Extended attributes in tar streams, beside those of GNU tar."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from phoenix_ga.trees.headers import DIRECTORY, FILE
from phoenix_ga.trees.members import END, Member, Source
from phoenix_ga.trees.pack import Packer
from phoenix_ga.trees.report import Report
from phoenix_ga.trees.unpack import Rules, Unpacker
from phoenix_ga.trees.xattrs import COUNT_MAX, SIZE_MAX, is_known, is_unprivileged, is_usual
from tests.xattrs import CAPABILITY, DEFAULT_LIST, OF_ROOT, OF_USERS, attributes, set_all

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "directory").mkdir(parents=True)
    (root / "directory" / "file").write_text("content")
    (root / "plain").write_bytes(bytes(300_000))
    (root / "link").symlink_to("plain")
    os.link(root / "directory" / "file", root / "other name")
    set_all(root / "directory", {"user.of": b"directory"}, DEFAULT_LIST)
    set_all(root / "directory" / "file", OF_USERS, OF_ROOT)
    return root


def packed(root: Path, told: list[str], wanted: object = is_known) -> bytes:
    archive = bytearray()
    Packer(archive.extend, Report(told.append), wanted).pack(str(root))  # type: ignore[arg-type]
    return bytes(archive)


def unpack(archive: bytes, target: Path, told: list[str], wanted: object = is_known) -> None:
    target.mkdir(exist_ok=True)
    pieces = iter((archive, b""))
    rules = Rules(owners=True, set_id=False, devices=True, xattrs=wanted)  # type: ignore[arg-type]
    Unpacker(Source(lambda: next(pieces)), rules, Report(told.append)).unpack(str(target), is_new=True)


def test_everything_arrives_and_nothing_else(root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    unpack(packed(root, told), tmp_path / "copy", told)
    assert told == []
    for name in ("", "directory", "directory/file", "plain", "other name"):
        assert attributes(tmp_path / "copy" / name) == attributes(root / name), name
        assert (tmp_path / "copy" / name).stat().st_mode == (root / name).stat().st_mode
    assert len(attributes(tmp_path / "copy" / "directory" / "file")) == 5


def test_an_existing_directory_does_not_pass_on_its_access_list(root: Path, tmp_path: Path) -> None:
    (tmp_path / "copy" / "directory").mkdir(parents=True)
    set_all(tmp_path / "copy", DEFAULT_LIST)
    unpack(packed(root, []), tmp_path / "copy", [])
    assert attributes(tmp_path / "copy" / "plain") == {}


def test_gnu_tar_reads_what_was_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    command = ["tar", "--extract", "--xattrs", "--xattrs-include=*", "--directory", str(tmp_path / "copy")]
    done = subprocess.run(command, input=packed(root, []), capture_output=True, check=True)
    assert done.stderr == b""
    for name in ("directory", "directory/file", "plain"):
        assert attributes(tmp_path / "copy" / name) == attributes(root / name)


def test_what_gnu_tar_writes_is_read(root: Path, tmp_path: Path) -> None:
    command = ["tar", "--create", "--xattrs", "--acls", "--format=posix", "--directory", str(root), "."]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    told: list[str] = []
    unpack(archive, tmp_path / "copy", told)
    assert told == []
    for name in ("directory", "directory/file", "plain"):
        assert attributes(tmp_path / "copy" / name) == attributes(root / name)


def test_without_them_the_first_is_told(root: Path, tmp_path: Path) -> None:
    set_all(root / "plain", OF_USERS)
    told: list[str] = []
    archive = packed(root, told, None)
    assert len(told) == 1
    assert told[0].startswith("note: directory: extended attributes left out (system.posix_acl_default, user.of)")
    assert b"SCHILY" not in archive
    os.setxattr(root, "user.of", b"root")
    packed(root, told := [], None)
    assert [line[: line.index(" (")] for line in told] == ["note: .: extended attributes left out"]
    unpack(archive, tmp_path / "copy", told, None)
    assert (len(told), attributes(tmp_path / "copy" / "plain")) == (1, {})


def test_labels_alone_are_nothing_to_tell(root: Path) -> None:
    os.removexattr(root / "directory", "system.posix_acl_default")
    os.removexattr(root / "directory", "user.of")
    for name in (*OF_USERS, "security.capability"):
        os.removexattr(root / "directory" / "file", name)
    told: list[str] = []
    packed(root, told, None)
    assert (told, attributes(root / "directory" / "file")) == ([], {"trusted.secret": b"t"})


def test_what_only_root_can_set_is_refused_and_told_once(root: Path, tmp_path: Path) -> None:
    set_all(root / "plain", OF_ROOT)
    told: list[str] = []
    unpack(packed(root, []), tmp_path / "copy", told, is_unprivileged)
    assert attributes(tmp_path / "copy" / "directory" / "file") == OF_USERS
    assert attributes(tmp_path / "copy" / "plain") == {}
    assert len(told) == 1
    assert told[0].startswith("note: directory/file: security.capability left out")


def stream(*members: Member) -> bytes:
    return b"".join(member.header() for member in members) + END


@pytest.mark.parametrize(
    "odd",
    [
        {b"security.capability": b"not one"},
        {b"user.%d" % number: b"" for number in range(COUNT_MAX + 1)},
        {b"user.big": bytes(SIZE_MAX)},
    ],
    ids=["invalid", "too many", "too large"],
)
def test_an_attribute_that_cannot_be_set_is_missing_and_the_file_is_not(
    tmp_path: Path, odd: dict[bytes, bytes]
) -> None:
    told: list[str] = []
    unpack(stream(Member(b"f", FILE, attributes=odd), Member(b"g", FILE)), tmp_path / "copy", told)
    assert sorted(os.listdir(tmp_path / "copy")) == ["f", "g"]
    assert len(told) == 1
    assert told[0].startswith("missing: f: ")
    assert "extended attribute" in told[0]


def test_names_that_are_not_for_files_are_left_alone(tmp_path: Path) -> None:
    odd = {b"system.evil": b"", b"btrfs.compression": b"", b"user." + b"n" * 300: b"", b"": b"", b"security": b""}
    told: list[str] = []
    members = Member(b"f", FILE, attributes=odd), Member(b"d", DIRECTORY, 0o755, attributes=odd)
    unpack(stream(*members), tmp_path / "copy", told)
    assert (told, attributes(tmp_path / "copy" / "f")) == ([], {})


def test_capabilities_survive_a_change_of_the_owner(root: Path, tmp_path: Path) -> None:
    os.chown(root / "directory" / "file", 4711, 4712)
    set_all(root / "directory" / "file", OF_ROOT)
    unpack(packed(root, [], is_usual), tmp_path / "copy", [])
    copy = tmp_path / "copy" / "directory" / "file"
    assert (copy.stat().st_uid, os.getxattr(copy, "security.capability")) == (4711, CAPABILITY)
