"""Disks and filesystems: listing, statistics, health, and trimming.

Each function takes `root`, a prefix of the paths that it reads (for tests).
"""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.linux.block_devices import BlockDevice, Topology, place, read_topology
from phoenix_ga.agent.linux.disk_address import DiskAddress, disk_address, disk_serial, udev_properties
from phoenix_ga.agent.linux.mounts import Filesystem, Mount, MountTree, local_filesystems, read_mounts
from phoenix_ga.agent.linux.nvme import read_smart
from phoenix_ga.agent.linux.open_filesystem import open_filesystem
from phoenix_ga.agent.linux.trim import trim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

_MAPPER: Final = "/dev/mapper/"
# The fields of /proc/diskstats from the fourth on, see Documentation/admin-guide/iostats.rst.
_STATISTICS: Final = (
    "read-ios",
    "read-merges",
    "read-sectors",
    "read-ticks",
    "write-ios",
    "write-merges",
    "write-sectors",
    "write-ticks",
    "ios-pgr",
    "total-ticks",
    "weight-ticks",
    "discard-ios",
    "discard-merges",
    "discard-sectors",
    "discard-ticks",
    "flush-ios",
    "flush-ticks",
)


class Place:
    """The disk or partition at `path` that holds something. serial: of the disk, may be empty."""

    __slots__ = ("address", "path", "serial")

    def __init__(self, address: DiskAddress, path: str, serial: str) -> None:
        self.address = address
        self.path = path
        self.serial = serial


class MountedFilesystem:
    """A filesystem at one of its mount points.

    name: the kernel's, of its (first) device, or the dataset of a ZFS. sizes: in bytes: used, the
    total for all but root, the total for root; None if they could not be read. places: the disks
    and partitions that it is on; none if they are not known.
    """

    __slots__ = ("name", "places", "point", "sizes", "type")

    def __init__(
        self, name: str, point: str, type: str, sizes: tuple[int, int, int] | None, places: list[Place]
    ) -> None:
        self.name = name
        self.point = point
        self.type = type
        self.sizes = sizes
        self.places = places


class Disk:
    """A disk, a partition or a mapped device.

    path: by the kernel's name. alias: the name of what device-mapper made, else empty. below: the
    paths of the devices that it is on. place: where a disk is attached; None for other devices.
    health: of an NVMe disk, see `read_smart`.
    """

    __slots__ = ("alias", "below", "health", "is_partition", "path", "place")

    def __init__(self, device: BlockDevice) -> None:
        self.path = device.node
        self.is_partition = device.disk != device.number
        self.alias = device.path[len(_MAPPER) :] if device.path.startswith(_MAPPER) else ""
        self.below: list[str] = []
        self.place: Place | None = None
        self.health: dict[str, int] = {}


class DiskStatistics:
    """The kernel's counters of a block device, see iostats. Ticks are milliseconds, sectors have 512 bytes."""

    __slots__ = ("major", "minor", "name", "values")

    def __init__(self, name: str, major: int, minor: int, values: dict[str, int]) -> None:
        self.name = name
        self.major = major
        self.minor = minor
        self.values = values


class Trimmed:
    """The result of trimming the filesystem at a mount point. error: empty on success.

    trimmed: in bytes. minimum: free extents shorter than this, in bytes, may have been left out.
    """

    __slots__ = ("error", "minimum", "point", "trimmed")

    def __init__(self, point: str, trimmed: int = 0, minimum: int = 0, error: str = "") -> None:
        self.point = point
        self.trimmed = trimmed
        self.minimum = minimum
        self.error = error


def mounted_filesystems(root: str = "") -> Iterator[MountedFilesystem]:
    """Return the filesystems on disks, the last mounted first.

    Each comes once, at its most representative mount point; a btrfs comes once for each subvolume that is mounted.
    Further mounts of the same files, such as those of containers, are left out. Raises OSError if there is no /proc
    or no /sys.
    """
    topology = read_topology(root)
    tree = MountTree(read_mounts(root))
    owners: dict[int, Filesystem] = {}
    for filesystem in local_filesystems(tree.mounts, topology):
        owners.update((mount.identifier, filesystem) for mount in _distinct(filesystem.mounts, tree))
    for mount in reversed(tree.mounts):
        owner = owners.get(mount.identifier)
        if owner is not None:
            blocks: Iterable[int] = owner.blocks
            name = _filesystem_name(mount, owner, topology)
        elif mount.type == "zfs":
            blocks = _zfs_members(mount.source.partition("/")[0], topology, root)
            name = mount.source
        else:
            continue
        places = _places(blocks, topology, root)
        yield MountedFilesystem(name, mount.point, mount.type, _sizes(mount, tree, root), places)


def _distinct(mounts: list[Mount], tree: MountTree) -> list[Mount]:
    """Return those of a filesystem's mounts that show files which no better mount of it shows."""

    def rank(mount: Mount) -> tuple[bool, bool, int]:
        return not tree.is_reachable(mount), mount.point != "/", len(mount.root.rstrip("/"))

    found: list[Mount] = []
    # Sorting is stable, and the most representative ones come first already.
    for mount in sorted(mounts, key=rank):
        below = mount.root.rstrip("/") + "/"
        if not any(below.startswith(other.root.rstrip("/") + "/") for other in found):
            found.append(mount)
    return found


def disks(root: str = "") -> Iterator[Disk]:
    """Return the disks, each followed by its partitions, then what is mapped onto them.

    Those without a size are left out. Raises OSError if there is no /sys.
    """
    topology = read_topology(root)
    found = [device for device in topology.devices.values() if device.sectors and not device.hidden]
    found.sort(key=lambda device: place(device, topology.devices[device.disk]))
    for device in found:
        disk = Disk(device)
        disk.below = [topology.devices[number].node for number in device.below if number in topology.devices]
        address = None if disk.is_partition else disk_address(device, root)
        if address is not None:
            disk.place = Place(address, device.node, disk_serial(device, root))
            if address.bus_type == "nvme":
                disk.health = _health(root + device.node)
        yield disk


def disk_statistics(root: str = "") -> list[DiskStatistics]:
    """Return /proc/diskstats, see proc(5); older kernels count less. Raises OSError."""
    found = []
    with open(root + "/proc/diskstats", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            major, minor, name, *values = line.split()
            found.append(DiskStatistics(name, int(major), int(minor), dict(zip(_STATISTICS, map(int, values)))))
    return found


def trim_filesystems(minimum: int) -> Iterator[Trimmed]:
    """Trim every mounted filesystem that is on disks, one at each step, the last mounted first.

    minimum: free extents shorter than this, in bytes, may be left out. Raises OSError if there is no /proc or
    no /sys.
    """
    tree = MountTree(read_mounts())
    for filesystem in reversed(local_filesystems(tree.mounts, read_topology())):
        yield _trim_one(filesystem, tree, minimum)


def _trim_one(filesystem: Filesystem, tree: MountTree, minimum: int) -> Trimmed:
    # A bind mount may have a file for its mount point.
    reachable = [mount for mount in filesystem.mounts if tree.is_reachable(mount)]
    point = next((each for each in reachable if os.path.isdir(each.path)), filesystem.mounts[0]).point
    try:
        descriptor = open_filesystem(filesystem, tree)
    except OSError as error:
        return Trimmed(point, error=f"failed to open: {error.strerror}")
    try:
        trimmed, used_minimum = trim(descriptor, minimum)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return Trimmed(point, error="trim not supported")
        return Trimmed(point, error=f"failed to trim: {os.strerror(error.errno or 0)}")
    finally:
        os.close(descriptor)
    return Trimmed(point, trimmed, used_minimum)


def _filesystem_name(mount: Mount, filesystem: Filesystem, topology: Topology) -> str:
    number = mount.device if os.major(mount.device) else topology.resolve(mount.source)
    for candidate in (number, *filesystem.blocks):
        device = topology.devices.get(candidate)
        if device is not None:
            return device.name
    return os.path.basename(mount.source)


def _zfs_members(pool: str, topology: Topology, root: str) -> list[int]:
    """Return the devices on which udev has seen a part of the pool."""
    found = []
    for number in topology.devices:
        properties = udev_properties(number, root)
        if properties.get("ID_FS_TYPE") == "zfs_member" and properties.get("ID_FS_LABEL") == pool:
            found.append(number)
    return found


def _places(blocks: Iterable[int], topology: Topology, root: str) -> list[Place]:
    numbers: dict[int, None] = {}
    for block in blocks:
        numbers.update(dict.fromkeys(topology.carriers(block)))
    found = []
    for number in numbers:
        device = topology.devices[number]
        disk = topology.devices[device.disk]
        address = disk_address(disk, root)
        if address is not None:
            found.append(Place(address, device.node, disk_serial(disk, root)))
    return found


def _sizes(mount: Mount, tree: MountTree, root: str) -> tuple[int, int, int] | None:
    if not tree.is_reachable(mount):
        return None
    try:
        sizes = os.statvfs(os.fsencode(root) + mount.path)
    except OSError:
        return None
    used = sizes.f_blocks - sizes.f_bfree
    unit = sizes.f_frsize
    return used * unit, (used + sizes.f_bavail) * unit, sizes.f_blocks * unit


def _health(path: str) -> dict[str, int]:
    try:
        return read_smart(path)
    except OSError:
        return {}
