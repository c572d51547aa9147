"""Filesystems, disks and their counters, on small fake trees; and the kernel's own structures."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, read_mounts
from phoenix_ga.agent.linux.nvme import parse_smart
from phoenix_ga.agent.operations import storage
from tests.agent.loop_devices import Bench, OnlyBelow, hung_fuse, needs_root
from tests.agent.trees import make_tree


@pytest.fixture
def root(tmp_path: Path) -> str:
    return make_tree(tmp_path)


def test_filesystems_come_once_the_last_first(root: str, tmp_path: Path) -> None:
    (tmp_path / "bind").mkdir()
    found = list(storage.mounted_filesystems(root))
    names = [(each.name, each.point, each.type) for each in found]
    assert names == [
        ("dm-0", "/mnt/caf\udce9\r", "btrfs"),
        ("dm-0", "/home", "btrfs"),
        ("sr0", "/media/cd", "iso9660"),
        ("sdb1", "/srv/my data\t\\\nx", "ext4"),
        ("vda1", "/", "ext4"),
    ]
    # Of several devices: the one that is a logical volume is looked through.
    assert [place.path for place in found[0].places] == ["/dev/vda2", "/dev/sdc"]
    assert [place.path for place in found[-1].places] == ["/dev/vda1"]
    used, total, privileged = found[-1].sizes or (0, 0, 0)
    sizes = os.statvfs(tmp_path)
    assert 0 < used <= total <= privileged == sizes.f_blocks * sizes.f_frsize
    assert found[2].sizes is None


@pytest.mark.parametrize(
    ("mounts", "points"),
    [
        # What containers do: files and directories of one filesystem, mounted again and again.
        ([("/", "/srv"), ("/c/hosts", "/c/1/etc/hosts"), ("/c", "/mnt"), ("/", "/again")], ["/srv"]),
        # The filesystem itself is not mounted; each part of it is.
        ([("/a", "/srv/a"), ("/b", "/srv/b"), ("/a/deep", "/deep"), ("/ab", "/ab")], ["/ab", "/srv/b", "/srv/a"]),
        # Another mount covers the better one.
        ([("/", "/srv"), ("/", "/srv/again"), ("/", "/longer")], ["/srv"]),
    ],
)
def test_a_filesystem_comes_once_however_often_it_is_mounted(
    root: str, tmp_path: Path, mounts: list[tuple[str, str]], points: list[str]
) -> None:
    lines = [f"{40 + i} 27 8:17 {part} {point} rw - ext4 /dev/sdb1 rw" for i, (part, point) in enumerate(mounts)]
    mountinfo = "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n" + "\n".join(lines) + "\n"
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo)
    found = [each.point for each in storage.mounted_filesystems(root) if each.name == "sdb1"]
    assert found == points


def test_a_mount_point_that_can_be_reached_comes_before_one_that_cannot(root: str, tmp_path: Path) -> None:
    (tmp_path / "proc/self/mountinfo").write_text(
        "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "40 27 8:17 / /a rw - ext4 /dev/sdb1 rw\n"
        "41 27 8:17 / /longer rw - ext4 /dev/sdb1 rw\n"
        "42 40 0:41 / /a rw - tmpfs tmpfs rw\n"
    )
    assert [each.point for each in storage.mounted_filesystems(root)] == ["/longer", "/"]


def test_a_zfs_is_on_what_udev_has_seen_of_its_pool(root: str, tmp_path: Path) -> None:
    mountinfo = tmp_path / "proc/self/mountinfo"
    mountinfo.write_bytes(mountinfo.read_bytes() + b"90 27 0:50 / /tank rw - zfs tank/data rw,xattr\n")
    (tmp_path / "run/udev/data").mkdir(parents=True)
    for device, label in (("b8:32", "tank"), ("b8:17", "other")):
        (tmp_path / "run/udev/data" / device).write_text(f"E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL={label}\n")
    first = next(storage.mounted_filesystems(root))
    assert (first.name, first.point, first.type) == ("tank/data", "/tank", "zfs")
    assert [place.path for place in first.places] == ["/dev/sdc"]


def test_disks_come_with_what_they_stand_on(root: str) -> None:
    found = [(disk.path, disk.is_partition, disk.below, disk.alias) for disk in storage.disks(root)]
    assert found == [
        ("/dev/sdb", False, [], ""),
        ("/dev/sdb1", True, ["/dev/sdb"], ""),
        ("/dev/sdc", False, [], ""),
        ("/dev/sr0", False, [], ""),
        ("/dev/vda", False, [], ""),
        ("/dev/vda1", True, ["/dev/vda"], ""),
        ("/dev/vda2", True, ["/dev/vda"], ""),
        ("/dev/dm-0", False, ["/dev/vda2"], "pool"),
        ("/dev/loop0", False, [], ""),
    ]


def test_older_kernels_count_less(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/diskstats").write_text(
        "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n 254      16 vdb 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"
    )
    old, new = storage.disk_statistics(str(tmp_path))
    assert (old.name, old.major, old.minor, len(old.values)) == ("sda", 8, 0, 11)
    assert (old.values["read-sectors"], old.values["ios-pgr"], old.values["weight-ticks"]) == (3, 9, 11)
    assert (new.name, new.minor, len(new.values)) == ("vdb", 16, 17)
    assert (new.values["discard-ios"], new.values["flush-ticks"]) == (12, 17)


@pytest.mark.parametrize(
    ("code", "path", "text"),
    [
        (errno.EOPNOTSUPP, None, "trim not supported"),
        (errno.ENOTTY, None, "trim not supported"),
        (errno.EINVAL, None, "failed to trim: Invalid argument"),
        (errno.EACCES, "/mnt", "failed to open: Permission denied"),
    ],
)
def test_why_a_filesystem_was_not_trimmed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, path: str | None, text: str
) -> None:
    line = f"30 27 8:17 / {tmp_path} rw - ext4 /dev/sdb1 rw\n31 27 8:17 / /bind rw - ext4 /dev/sdb1 rw\n"
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(line)
    mounts = read_mounts(str(tmp_path))
    monkeypatch.setattr(storage, "read_mounts", lambda: mounts)

    def open_it(filesystem: Filesystem, tree: MountTree) -> int:
        if path is not None:
            raise OSError(code, os.strerror(code), path)
        return os.open(tmp_path, os.O_RDONLY)

    def fail(descriptor: int, minimum: int) -> tuple[int, int]:
        assert os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        assert minimum == 4096
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(storage, "open_filesystem", open_it)
    monkeypatch.setattr(storage, "trim", fail)
    (only,) = storage.trim_filesystems(4096)
    assert (only.point, only.error) == (str(tmp_path), text)


@pytest.mark.root
@needs_root
def test_a_hidden_filesystem_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "read_mounts", OnlyBelow(tmp_path).mounts)
    bench = Bench(tmp_path)
    try:
        point = bench.make(tmp_path / "image", "point")
        with hung_fuse(point):
            (only,) = storage.trim_filesystems(0)
        assert (only.point, only.error) == (str(point), "")
        assert only.trimmed > 0
    finally:
        bench.close()


def test_the_health_of_an_nvme_disk() -> None:
    page = struct.pack("<BHBBB26x", 1, 323, 100, 10, 3) + b"".join(
        struct.pack("<QQ", number, 2**64 - number) for number in range(1, 11)
    )
    values = parse_smart(page + bytes(512 - len(page)))
    assert len(values) == 5 + 20
    assert (values["critical-warning"], values["temperature"], values["percentage-used"]) == (1, 323, 3)
    assert (values["data-units-read-lo"], values["number-of-error-log-entries-lo"]) == (1, 10)
    assert values["media-errors-hi"] == 2**64 - 9
