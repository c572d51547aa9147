"""Mountinfo and sysfs, on small fake trees."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from phoenix_ga.agent.linux.block_devices import BlockDevice, Topology, loop_status, read_topology
from phoenix_ga.agent.linux.mounts import (
    Mount,
    MountTree,
    escape,
    local_filesystems,
    mount_identifier,
    read_mounts,
    unescape,
)
from phoenix_ga.agent.operations.freeze.order import freeze_order
from tests.agent.trees import make_tree


@pytest.fixture
def root(tmp_path: Path) -> str:
    return make_tree(tmp_path)


def test_mountinfo_is_decoded(root: str) -> None:
    mounts = read_mounts(root)
    assert [mount.identifier for mount in mounts] == [22, 27, 30, 31, 32, 33, 34, 35, 36, 37]
    data = mounts[2]
    assert data.point == "/srv/my data\t\\\nx"
    assert data.device == os.makedev(8, 17)
    assert (data.parent, data.root, data.type, data.source) == (27, "/", "ext4", "/dev/sdb1")
    assert not data.read_only
    # The bind mount is read-only, its superblock is not; of the CD it is.
    assert [mount.read_only for mount in mounts[3:5]] == [False, True]


def test_name_beyond_utf8_keeps_its_bytes(root: str) -> None:
    mount = read_mounts(root)[8]
    assert mount.point == "/mnt/caf\udce9\r"
    assert mount.path == b"/mnt/caf\xe9\r"


@pytest.mark.parametrize("name", ["/plain", "/a b", "/tab\tnew\nline", "/back\\040slash", "/caf\udce9", "/é"])
def test_escape_is_the_inverse(name: str) -> None:
    assert b" " not in escape(name)
    assert b"\n" not in escape(name)
    assert unescape(escape(name)) == name


def test_stray_backslash_stays() -> None:
    assert unescape(b"a\\b\\9\\040") == "a\\b\\9 "


def test_own_mountinfo_can_be_read() -> None:
    mounts = read_mounts()
    descriptor = os.open("/", os.O_RDONLY)
    try:
        identifier = mount_identifier(descriptor)
    finally:
        os.close(descriptor)
    assert [mount.point for mount in mounts if mount.identifier == identifier] == ["/"]


def test_topology(root: str) -> None:
    topology = read_topology(root, lambda path: (os.makedev(254, 1), 0))
    by_name = {device.name: device for device in topology.devices.values()}
    assert by_name["dm-0"].path == "/dev/mapper/pool"
    assert by_name["vda2"].disk == os.makedev(254, 0)
    assert topology.beneath([os.makedev(253, 0)]) == {
        os.makedev(253, 0),
        os.makedev(254, 2),
        os.makedev(254, 0),
    }
    assert by_name["loop0"].backing_file == "/srv/image (deleted)"
    assert by_name["loop0"].backing_device == os.makedev(254, 1)
    assert topology.resolve("/dev/mapper/pool") == os.makedev(253, 0)
    assert topology.resolve("/dev/root") == 0
    assert set(topology.pool(os.makedev(253, 0))) == {os.makedev(253, 0), os.makedev(8, 32)}


def test_loop_device_on_a_device(root: str) -> None:
    topology = read_topology(root, lambda path: (5, os.makedev(254, 2)))
    loop = topology.devices[os.makedev(7, 0)]
    assert loop.backing_file == ""
    assert os.makedev(254, 0) in topology.beneath([loop.number])


def test_local_filesystems(root: str) -> None:
    filesystems = local_filesystems(read_mounts(root), read_topology(root))
    assert [filesystem.point for filesystem in filesystems] == [
        "/",
        "/srv/my data\t\\\nx",
        "/media/cd",
        "/home",
    ]
    assert [len(filesystem.mounts) for filesystem in filesystems] == [1, 2, 1, 2]
    assert set(filesystems[3].blocks) == {os.makedev(253, 0), os.makedev(8, 32)}


def mount(identifier: int, parent: int, point: str, device: int = 1) -> Mount:
    return Mount(identifier, parent, device, "/", point, "ext4", "/dev/x")


@pytest.mark.parametrize(
    ("mounts", "reachable"),
    [
        ([mount(1, 0, "/"), mount(2, 1, "/a"), mount(3, 2, "/a/b")], {1, 2, 3}),
        # Over-mounted at the very point, above it, and the root itself.
        ([mount(1, 0, "/"), mount(2, 1, "/a"), mount(3, 2, "/a")], {1, 3}),
        ([mount(1, 0, "/"), mount(2, 1, "/a/b"), mount(3, 1, "/a")], {1, 3}),
        ([mount(1, 0, "/"), mount(2, 1, "/"), mount(3, 2, "/a")], {2, 3}),
        # A name that only begins alike covers nothing.
        ([mount(1, 0, "/"), mount(2, 1, "/ab"), mount(3, 1, "/a")], {1, 2, 3}),
        ([mount(1, 1, "/"), mount(2, 1, "/a"), mount(3, 1, "/a")], {1, 3}),
    ],
)
def test_reachable(mounts: list[Mount], reachable: set[int]) -> None:
    tree = MountTree(mounts)
    assert {mount.identifier for mount in mounts if tree.is_reachable(mount)} == reachable


def order_of(mounts: list[Mount], topology: Topology) -> list[str]:
    return [each.point for each in freeze_order(local_filesystems(mounts, topology), topology)]


def loop_device(minor: int, backing_device: int) -> BlockDevice:
    device = BlockDevice(os.makedev(7, minor), f"loop{minor}")
    device.backing_file = "/image"
    device.backing_device = backing_device
    return device


ROOT = os.makedev(254, 1)
DATA = os.makedev(8, 1)


def test_latest_mount_comes_first() -> None:
    assert order_of([mount(1, 0, "/", ROOT), mount(2, 1, "/data", DATA)], Topology()) == ["/data", "/"]


def test_loop_file_comes_before_its_holder_even_if_that_was_mounted_later() -> None:
    topology = Topology([loop_device(0, DATA)])
    mounts = [mount(1, 0, "/", ROOT), mount(2, 1, "/loop", os.makedev(7, 0)), mount(3, 1, "/data", DATA)]
    assert order_of(mounts, topology) == ["/loop", "/data", "/"]


def test_loop_in_loop_through_device_mapper() -> None:
    mapped = BlockDevice(os.makedev(253, 0), "dm-0", below=[os.makedev(7, 1)])
    topology = Topology([loop_device(0, ROOT), loop_device(1, os.makedev(7, 0)), mapped])
    mounts = [
        mount(1, 1, "/inner", os.makedev(253, 0)),
        mount(2, 1, "/outer", os.makedev(7, 0)),
        mount(3, 1, "/", ROOT),
    ]
    for mounted in (mounts, mounts[::-1], [mounts[1], mounts[2], mounts[0]]):
        assert order_of(mounted, topology) == ["/inner", "/outer", "/"]


def test_loop_file_of_unknown_holder_comes_before_all_others() -> None:
    topology = Topology([loop_device(0, 4711), loop_device(1, os.makedev(7, 0))])
    mounts = [
        mount(1, 1, "/on-unknown", os.makedev(7, 0)),
        mount(2, 1, "/on-that", os.makedev(7, 1)),
        mount(3, 1, "/", ROOT),
        mount(4, 1, "/data", DATA),
    ]
    assert order_of(mounts, topology) == ["/on-that", "/on-unknown", "/data", "/"]


def test_subvolume_number_finds_the_holder() -> None:
    topology = Topology([loop_device(0, 99)])
    pool, on_loop = local_filesystems(
        [Mount(1, 1, 42, "/", "/pool", "btrfs", "/dev/gone"), mount(2, 1, "/loop", os.makedev(7, 0))], topology
    )
    pool.numbers.add(99)
    assert [each.point for each in freeze_order([on_loop, pool], topology)] == ["/loop", "/pool"]


def test_circle_does_not_hang() -> None:
    topology = Topology([loop_device(0, os.makedev(7, 1)), loop_device(1, os.makedev(7, 0))])
    mounts = [mount(1, 1, "/a", os.makedev(7, 0)), mount(2, 1, "/b", os.makedev(7, 1))]
    assert sorted(order_of(mounts, topology)) == ["/a", "/b"]


@pytest.mark.root
@pytest.mark.programs("losetup")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_loop_device_tells_where_its_file_is_even_when_deleted(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    losetup = shutil.which("losetup", path="/usr/sbin:/sbin:/usr/bin")
    assert losetup
    loop = subprocess.run([losetup, "--find", "--show", image], check=True, stdout=subprocess.PIPE, text=True)
    path = loop.stdout.strip()
    try:
        image.unlink()
        assert loop_status(path) == (tmp_path.stat().st_dev, 0)
        device = read_topology(loop_status=loop_status).devices[os.stat(path).st_rdev]
        assert device.backing_file.endswith("(deleted)")
        assert device.backing_device == tmp_path.stat().st_dev
    finally:
        subprocess.run([losetup, "--detach", path], check=True)
