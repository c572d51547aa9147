"""A file that takes the place of another, on filesystems that can't make one without a name."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.replacement import Replacement

_open = os.open


@pytest.fixture(params=["nameless", "named"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to be replaced, where O_TMPFILE works and where it does not."""

    def refuse(path: bytes, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
        return _open(path, flags, mode)

    if request.param == "named":
        monkeypatch.setattr(os, "open", refuse)
    path = tmp_path / "target 100%"
    path.write_text("old")
    return path


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def replace(target: Path, data: bytes) -> None:
    new = Replacement(str(target), 0o600, -1, -1)
    try:
        new.write(data)
        new.commit()
    finally:
        new.abandon()


def test_it_appears_whole_and_leaves_nothing_else(target: Path) -> None:
    replace(target, b"new")
    assert target.read_text() == "new"
    assert names(target) == [target.name]


def test_what_is_abandoned_leaves_nothing(target: Path) -> None:
    new = Replacement(str(target), 0o600, -1, -1)
    new.write(b"half")
    new.abandon()
    assert target.read_text() == "old"
    assert names(target) == [target.name]


def test_what_a_writer_that_died_left_is_removed_by_the_next(target: Path) -> None:
    process = os.fork()
    if process == 0:
        Replacement(str(target), 0o600, -1, -1).write(b"half")
        os._exit(0)
    os.waitpid(process, 0)
    replace(target, b"new")
    assert target.read_text() == "new"
    assert names(target) == [target.name]


def test_what_another_one_writes_is_left_alone(target: Path) -> None:
    first = Replacement(str(target), 0o600, -1, -1)
    first.write(b"first")
    replace(target, b"second")
    assert target.read_text() == "second"
    first.commit()
    first.abandon()
    assert target.read_text() == "first"
    assert names(target) == [target.name]


def test_a_name_that_somebody_keeps_taken_is_left_alone(target: Path) -> None:
    taken = target.parent / f".{target.name}.~0.phoenix-part"
    taken.mkdir()
    replace(target, b"new")
    assert target.read_text() == "new"
    assert taken.is_dir()


def test_many_at_once_never_mix(target: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(20)]
    threads = [threading.Thread(target=replace, args=(target, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert names(target) == [target.name]


def continue_part(target: Path, data: bytes, offset: int = 0) -> None:
    new = Replacement(str(target), 0o600, -1, -1, "p1", offset)
    try:
        new.write(data)
        new.commit()
    finally:
        new.abandon()


def test_an_incomplete_file_is_continued(tmp_path: Path) -> None:
    new = Replacement(str(tmp_path / "secret"), 0o600, -1, -1, "p1")
    new.write(b"first second")
    new.abandon()
    continue_part(tmp_path / "secret", b"half", 6)
    assert (tmp_path / "secret").read_bytes() == b"first half"
    assert names(tmp_path / "secret") == ["secret"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("kind", ["of another user", "writable by others", "hard link", "symbolic link", "fifo"])
def test_what_somebody_else_put_there_is_not_continued(tmp_path: Path, kind: str) -> None:
    other, part, target = tmp_path / "other", tmp_path / ".secret.p1.phoenix-part", tmp_path / "secret"
    other.write_bytes(b"not ours")
    if kind == "hard link":
        os.link(other, part)
    elif kind == "symbolic link":
        part.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(part)
    else:
        part.write_bytes(b"not ours")
        os.chown(part, 65534 if kind == "of another user" else 0, -1)
        part.chmod(0o600 if kind == "of another user" else 0o606)
    continue_part(target, b"secret")
    assert (target.read_bytes(), other.read_bytes()) == (b"secret", b"not ours")
    status = target.stat()
    assert (status.st_uid, status.st_mode & 0o777, status.st_nlink) == (0, 0o600, 1)
    assert not part.exists()


# The user 1234 may read; see linux/posix_acl_xattr.h: tag, permissions and ID of each entry.
_ENTRIES = ((1, 6, 2**32 - 1), (2, 4, 1234), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
ACCESS_LIST = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in _ENTRIES)


def put_content(target: Path, mode: int = -1, uid: int = -1, new_mode: int = 0o644) -> os.stat_result:
    new = Replacement(str(target), mode, uid, new_mode=new_mode)
    try:
        new.write(b"new")
        new.commit()
    finally:
        new.abandon()
    assert target.read_bytes() == b"new"
    return target.stat()


@pytest.mark.parametrize("part", ["", "p1"])
def test_a_replaced_file_passes_on_its_permissions(target: Path, part: str) -> None:
    target.chmod(0o600)
    new = Replacement(str(target), part=part)
    # What counts is how the file is protected when it is replaced.
    target.chmod(0o640)
    new.commit()
    new.abandon()
    assert target.stat().st_mode & 0o7777 == 0o640


def test_permissions_in_the_request_replace_those_of_the_file(target: Path) -> None:
    target.chmod(0o600)
    assert put_content(target, mode=0o664).st_mode & 0o7777 == 0o664


def test_a_new_file_gets_the_permissions_for_new_files(target: Path) -> None:
    target.unlink()
    assert put_content(target).st_mode & 0o7777 == 0o644
    target.unlink()
    assert put_content(target, new_mode=0o755).st_mode & 0o7777 == 0o755


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_replaced_file_passes_on_owner_label_access_list_and_attributes(target: Path) -> None:
    os.chown(target, 1234, 1235)
    target.chmod(0o640)
    kept = {
        "security.selinux": b"system_u:object_r:shadow_t:s0\0",
        "system.posix_acl_access": ACCESS_LIST,
        "trusted.origin": b"backup",
        "user.comment": b"mine",
    }
    for name, value in kept.items():
        os.setxattr(target, name, value)
    status = put_content(target)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 1235, 0o640)
    assert {name: os.getxattr(target, name) for name in os.listxattr(target)} == kept
    status = put_content(target, mode=0o600, uid=0)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 1235, 0o600)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_privileges_of_the_old_content_are_not_passed_on(target: Path) -> None:
    target.chmod(0o6755)
    # CAP_NET_RAW, see vfs_cap_data of linux/capability.h.
    os.setxattr(target, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    assert put_content(target).st_mode & 0o7777 == 0o755
    assert os.listxattr(target) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_default_access_list_of_a_directory_is_for_new_files_only(target: Path) -> None:
    target.chmod(0o600)
    os.setxattr(target.parent, "system.posix_acl_default", ACCESS_LIST)
    assert put_content(target).st_mode & 0o7777 == 0o600
    assert os.listxattr(target) == []
    target.unlink()
    put_content(target)
    assert "system.posix_acl_access" in os.listxattr(target)


def test_a_part_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_ga.agent.operations.replacement._LOCK_TIME", 0.1)
    target = tmp_path / "new"
    first = Replacement(str(target), part="p1")
    first.write(b"data")
    with pytest.raises(OSError, match="another transfer is writing") as caught:
        Replacement(str(target), part="p1", offset=4)
    assert caught.value.errno == errno.EBUSY
    first.commit()
    first.abandon()
    assert target.read_bytes() == b"data"


def test_a_part_is_continued_once_its_writer_has_closed_it(tmp_path: Path) -> None:
    target = tmp_path / "new"
    first = Replacement(str(target), part="p1")
    first.write(b"data")
    timer = threading.Timer(0.2, first.abandon)
    timer.start()
    second = Replacement(str(target), part="p1", offset=4)
    second.write(b" and more")
    second.commit()
    second.abandon()
    timer.join()
    assert target.read_bytes() == b"data and more"


def test_a_part_that_another_transfer_completes_meanwhile_is_not_written_to(tmp_path: Path) -> None:
    target = tmp_path / "new"
    first = Replacement(str(target), part="p1")
    first.write(b"data")

    def complete() -> None:
        first.commit()
        first.abandon()

    timer = threading.Timer(0.2, complete)
    timer.start()
    with pytest.raises(OSError, match="just completed"):
        Replacement(str(target), part="p1", offset=4)
    timer.join()
    assert target.read_bytes() == b"data"
