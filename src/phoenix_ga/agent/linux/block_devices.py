"""The block devices of this system and their dependencies, from sysfs."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

# linux/loop.h
LOOP_GET_STATUS64: Final = 0x4C05
# struct loop_info64: lo_device, lo_inode, lo_rdevice, and 208 bytes that do not matter here.
_LOOP_INFO64: Final = struct.Struct("=QQQ208x")


class BlockDevice:
    """A block device.

    number: as st_rdev gives it. name: the kernel's, such as `vda1` or `dm-0`. path: below /dev, by
    the name that people use (`/dev/mapper/NAME`). sectors: of 512 bytes. disk: the number of the
    disk that it is a partition of, or its own. below: the numbers of the devices that it stands
    on. backing_file: of a loop device on a file, the file's path when it was set up, else empty.
    backing_device: the st_dev of that file, 0 if it is not known. hidden: the kernel does
    not mean it to be used (a single path of an NVMe multipath device).
    """

    __slots__ = (
        "backing_device",
        "backing_file",
        "below",
        "disk",
        "hidden",
        "name",
        "number",
        "path",
        "sectors",
    )

    def __init__(self, number: int, name: str, *, below: Iterable[int] = (), sectors: int = 0) -> None:
        self.number = number
        self.name = name
        self.path = self.node
        self.sectors = sectors
        self.disk = number
        self.below = tuple(below)
        self.backing_file = ""
        self.backing_device = 0
        self.hidden = False

    @property
    def node(self) -> str:
        """The path below /dev by the kernel's name."""
        # A slash in a device's name is an exclamation mark in sysfs.
        return "/dev/" + self.name.replace("!", "/")


class Topology:
    """All block devices by number, and the pools that filesystems make of them.

    pools: the devices of each mounted btrfs. root: what is put before /dev to look a name up.
    """

    __slots__ = ("devices", "pools", "root")

    def __init__(
        self, devices: Iterable[BlockDevice] = (), pools: Iterable[tuple[int, ...]] = (), root: str = ""
    ) -> None:
        self.devices = {device.number: device for device in devices}
        self.pools = list(pools)
        self.root = root

    def beneath(self, numbers: Iterable[int]) -> set[int]:
        """Return `numbers` and every device below them, down to the disks and loop devices."""
        found: set[int] = set()
        pending = list(numbers)
        while pending:
            number = pending.pop()
            if number not in found:
                found.add(number)
                device = self.devices.get(number)
                if device is not None:
                    pending.extend(device.below)
        return found

    def pool(self, number: int) -> tuple[int, ...]:
        """Return all devices of the btrfs filesystem on this one, including itself."""
        for pool in self.pools:
            if number in pool:
                return pool
        return (number,)

    def carriers(self, number: int) -> list[int]:
        """Return the disks and partitions that a device is on in the end, whatever is mapped between.

        The device itself if it is one. Empty for a loop device on a file.
        """
        device = self.devices.get(number)
        if device is None or device.backing_file:
            return []
        if device.disk != number or not device.below:
            return [number]
        found: list[int] = []
        for below in device.below:
            found += [carrier for carrier in self.carriers(below) if carrier not in found]
        return found

    def resolve(self, path: str) -> int:
        """Return the number of the block device that a path below /dev names, 0 if there is none."""
        try:
            status = os.stat(self.root + path)
        except OSError:
            return 0
        if stat.S_ISBLK(status.st_mode):
            return status.st_rdev
        name = os.path.basename(os.path.realpath(self.root + path))
        return next((device.number for device in self.devices.values() if device.name == name), 0)


def place(device: BlockDevice, disk: BlockDevice) -> tuple[bool, int, str, int, str]:
    """Sort key of devices: real disks first, vdb before vdaa, partition 2 before 10. disk: the one that it is on."""
    mapped = disk.name.startswith(("dm-", "loop", "md"))
    own = "" if device is disk else device.name
    return (mapped, len(disk.name), disk.name, len(own), own)


def loop_status(path: str) -> tuple[int, int]:
    """Return st_dev of the backing file of a loop device, and st_rdev if that is a device.

    The path in sysfs is not reliable: the file may have been renamed, deleted or mounted over.
    Raises OSError. May hang if the file is on a network filesystem.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(_LOOP_INFO64.size))
    finally:
        os.close(descriptor)
    device, _, rdevice = _LOOP_INFO64.unpack(answer)
    return device, rdevice


def read_topology(root: str = "", loop_status: Callable[[str], tuple[int, int]] | None = None) -> Topology:
    """Read the block devices. `root`: prefix of /sys and /dev.

    `loop_status`, such as the function of this name, is asked for what loop devices are on; without
    it `backing_device` stays 0. Devices that vanish meanwhile are left out. Raises OSError if
    there is no sysfs.
    """
    devices: dict[str, BlockDevice] = {}
    slaves: dict[str, list[str]] = {}
    for name in os.listdir(root + "/sys/block"):
        directory = f"{root}/sys/block/{name}"
        device = _read_device(directory, name)
        if device is None:
            continue
        slaves[name] = sorted(_list(directory + "/slaves"))
        mapper_name = _read(directory + "/dm/name")
        if mapper_name:
            device.path = "/dev/mapper/" + mapper_name
        device.hidden = _read(directory + "/hidden") == "1"
        device.backing_file = _read(directory + "/loop/backing_file")
        devices[name] = device
        for entry in _list(directory):
            if entry.startswith(name) and os.path.exists(f"{directory}/{entry}/partition"):
                partition = _read_device(f"{directory}/{entry}", entry)
                if partition is not None:
                    partition.disk = device.number
                    partition.below = (device.number,)
                    devices[entry] = partition
    for name, names in slaves.items():
        if name in devices:
            devices[name].below = tuple(devices[slave].number for slave in names if slave in devices)
    topology = Topology(devices.values(), root=root)
    for device in devices.values():
        if device.backing_file:
            _find_backing(device, topology, loop_status)
    for pool in _list(root + "/sys/fs/btrfs"):
        members = sorted(_list(f"{root}/sys/fs/btrfs/{pool}/devices"))
        topology.pools.append(tuple(devices[name].number for name in members if name in devices))
    return topology


def _find_backing(
    device: BlockDevice, topology: Topology, loop_status: Callable[[str], tuple[int, int]] | None
) -> None:
    rdevice = 0
    if loop_status is not None:
        try:
            device.backing_device, rdevice = loop_status(topology.root + device.path)
        except OSError:
            pass
    if not rdevice and device.backing_file.startswith("/dev/"):
        rdevice = topology.resolve(device.backing_file)
    if rdevice:
        device.below = (rdevice,)
        device.backing_file = ""
        device.backing_device = 0


def _read_device(directory: str, name: str) -> BlockDevice | None:
    major, _, minor = _read(directory + "/dev").partition(":")
    sectors = _read(directory + "/size")
    if not minor or not sectors:
        return None
    return BlockDevice(os.makedev(int(major), int(minor)), name, sectors=int(sectors))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().rstrip(b"\n").decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
