"""The steps by which a filesystem grows: from the partition up to the filesystem itself."""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT

from phoenix_ga.agent.linux.block_devices import BlockDevice, Topology
from phoenix_ga.agent.operations.grow.filesystem_size import btrfs_device, ext_size, xfs_size
from phoenix_ga.agent.operations.grow.partitions import SECTOR, partition_room
from phoenix_ga.agent.operations.grow.tools import run_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.linux.mounts import Filesystem, MountTree

# Less is left alone, in bytes: layers align what they use.
GROWTH_MIN: Final = 1 << 20
_EXT: Final = ("ext2", "ext3", "ext4")
# A volume that is not a snapshot, a mirror or the like, see lvs(8), lv_attr; and how its extents may be laid out.
_PLAIN_VOLUME: Final = "-"
_SEGMENTS: Final = ("linear", "striped")
_WITH_FREE_SPACE: Final = "+100%FREE"


class Refusal(Exception):
    """It cannot be grown safely, for this reason."""


class Step:
    """Something that grows.

    layer: such as `partition`. name: the device or the mount point. before, after: sizes in bytes, `after` a
    forecast until it is done. commands: programs to run, each with its input. measure: returns the size.
    """

    __slots__ = ("after", "before", "commands", "done", "layer", "measure", "name")

    def __init__(
        self,
        layer: str,
        name: str,
        before: int,
        after: int,
        commands: list[tuple[tuple[str, ...], bytes]],
        measure: Callable[[], int],
    ) -> None:
        self.layer = layer
        self.name = name
        self.before = before
        self.after = after
        self.commands = commands
        self.measure = measure
        self.done = False

    def as_object(self) -> dict[str, Any]:
        commands = []
        for argv, given in self.commands:
            # The input of others is a passphrase.
            told = f"echo {given.decode().strip()} | " if argv[0] == "sfdisk" else ""
            commands.append(told + " ".join(argv))
        return {
            "layer": self.layer,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "commands": commands,
            "done": self.done,
        }


class Plan:
    """Finds the steps.

    Attributes:
        steps: in their order, the lowest layer first.
        notes: why something cannot grow that could, or what to do with what has grown.
        locked: devices with LUKS whose key the kernel does not give back.
    """

    def __init__(self, topology: Topology, passphrase: bytes = b"") -> None:
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.locked: list[str] = []
        self._topology = topology
        self._passphrase = passphrase

    def grow_filesystem(self, filesystem: Filesystem, tree: MountTree) -> None:
        """Add the steps for a mounted filesystem and what it is on. Raises Refusal, OSError."""
        mount = next((each for each in filesystem.mounts if tree.is_reachable(each)), None)
        if mount is None:
            raise Refusal(f"other mounts hide the filesystem at {filesystem.point}")
        if filesystem.read_only:
            raise Refusal(f"the filesystem at {mount.point} is read-only")
        kind = filesystem.type
        if kind not in (*_EXT, "xfs", "btrfs"):
            raise Refusal(
                f"the filesystem at {mount.point} is {kind}: only ext2, ext3, ext4, xfs and btrfs grow while mounted"
            )
        if not filesystem.blocks:
            raise Refusal(f"the devices of the filesystem at {mount.point} are not known")
        for number in filesystem.blocks:
            self._grow_mounted(kind, mount.point, self._device(number))

    def grow_volume_group(self, number: int) -> bool:
        """Add the steps for the physical volume on a device, if there is one. Raises Refusal, OSError."""
        for found in _report("pvs", _PV_FIELDS):
            below = self._topology.resolve(found["pv_name"])
            if below and number in self._topology.beneath([below]):
                self._grow_physical_volume(found)
                self.notes.append(
                    f"the space stays free in the volume group {found['vg_name']}: name one of its filesystems to "
                    "give it the space"
                )
                return True
        return False

    def _grow_mounted(self, kind: str, point: str, device: BlockDevice) -> None:
        def measure() -> int:
            if kind == "xfs":
                return xfs_size(point)
            return ext_size(device.node) if kind in _EXT else btrfs_device(point, device.number)[1]

        size = self._grow_device(device)
        before = measure()
        if size - before < GROWTH_MIN:
            return
        argv: tuple[str, ...] = ("resize2fs", device.path) if kind in _EXT else ("xfs_growfs", "-d", point)
        if kind == "btrfs":
            argv = ("btrfs", "filesystem", "resize", f"{btrfs_device(point, device.number)[0]}:max", point)
        self.steps.append(Step("filesystem", point, before, size, [(argv, b"")], measure))

    def _device(self, number: int) -> BlockDevice:
        device = self._topology.devices.get(number)
        if device is None:
            raise OSError(ENOENT, f"there is no block device {os.major(number)}:{os.minor(number)}")
        return device

    def _grow_device(self, device: BlockDevice) -> int:
        """Add the steps for a device and what it is on; return its size afterwards, in bytes."""
        size = device.sectors * SECTOR
        if device.disk != device.number:
            return self._grow_partition(device, size)
        kind = _mapping(device)
        if kind == "LVM":
            return self._grow_logical_volume(device, size)
        if kind == "CRYPT":
            return self._grow_luks(device, size)
        if kind:
            raise Refusal(f"{device.path} is a device of the kind {kind}, which cannot be grown here")
        return size

    def _grow_partition(self, device: BlockDevice, size: int) -> int:
        disk = self._device(device.disk)
        room = partition_room(device, disk)
        if room.size - size < GROWTH_MIN:
            if room.obstacle:
                self.notes.append(room.obstacle)
            return size
        change = f"start={room.start}, size={room.size // room.unit}\n".encode()
        number = str(room.number)
        # Signatures of filesystems stay, and the kernel is told separately: the disk is in use.
        options = ("--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never")
        commands: list[tuple[tuple[str, ...], bytes]] = [
            (("sfdisk", *options, "-N", number, disk.node), change),
            (("partx", "--update", "--nr", number, disk.node), b""),
        ]
        self.steps.append(Step("partition", device.node, size, room.size, commands, lambda: _measure(device)))
        return room.size

    def _grow_luks(self, device: BlockDevice, size: int) -> int:
        name = os.path.basename(device.path)
        if len(device.below) != 1:
            raise Refusal(f"the device below {device.path} is not known")
        below = self._device(device.below[0])
        # start length crypt CIPHER KEY IV-OFFSET DEVICE OFFSET
        words = run_tool(("dmsetup", "table", name), time_limit=60.0).split()
        if len(words) < 8 or words[2] != "crypt" or not words[7].isdecimal():
            raise Refusal(f"{device.path} is a mapping of a kind that is not known here")
        after = self._grow_device(below) - int(words[7]) * SECTOR
        if after - size < GROWTH_MIN:
            return size
        argv: tuple[str, ...] = ("cryptsetup", "--batch-mode", "resize", name)
        given = b""
        # A key in the kernel's keyring cannot be read back, so cryptsetup(8) has to unlock the volume again.
        if words[4].startswith(":"):
            self.locked.append(below.node)
            argv, given = (*argv[:2], "--key-file", "-", *argv[2:]), self._passphrase
        self.steps.append(Step("luks", device.path, size, after, [(argv, given)], lambda: _measure(device)))
        return after

    def _grow_logical_volume(self, device: BlockDevice, size: int) -> int:
        fields = "vg_name,lv_name,lv_attr,segtype,vg_free,vg_extent_size"
        rows = _report("lvs", fields, device.path)
        if not rows:
            raise Refusal(f"lvs does not know {device.path}")
        volume = rows[0]
        if volume["lv_attr"][:1] != _PLAIN_VOLUME or any(row["segtype"] not in _SEGMENTS for row in rows):
            raise Refusal(
                f"{device.path} is a snapshot, a mirror, a thin or a cached volume: grow it with lvextend(8)"
            )
        group = volume["vg_name"]
        extent, free = int(volume["vg_extent_size"]), int(volume["vg_free"])
        for found in _report("pvs", _PV_FIELDS):
            if found["vg_name"] == group:
                free += self._grow_physical_volume(found)
        free -= free % extent
        if free < max(extent, GROWTH_MIN):
            return size
        argv = ("lvextend", "--quiet", "--extents", _WITH_FREE_SPACE, f"{group}/{volume['lv_name']}")
        self.steps.append(
            Step("logical volume", device.path, size, size + free, [(argv, b"")], lambda: _measure(device))
        )
        return size + free

    def _grow_physical_volume(self, found: dict[str, str]) -> int:
        """Add the steps for a physical volume; return how many bytes it gains."""
        path = found["pv_name"]
        number = self._topology.resolve(path)
        if not number:
            raise Refusal(f"the volume group {found['vg_name']} lacks a disk")
        extent, before = int(found["vg_extent_size"]), int(found["pv_size"])
        after = self._grow_device(self._device(number)) - int(found["pe_start"])
        after -= after % extent
        if after - before < extent:
            return 0

        def measure() -> int:
            return int(_report("pvs", _PV_FIELDS, path)[0]["pv_size"])

        self.steps.append(Step("physical volume", path, before, after, [(("pvresize", path), b"")], measure))
        return after - before


_PV_FIELDS: Final = "pv_name,pv_size,pe_start,vg_name,vg_extent_size"


def _mapping(device: BlockDevice) -> str:
    """Return what a device is made by: `LVM`, `CRYPT` or another kind; empty for a disk or a loop device."""
    directory = f"/sys/block/{device.name}"
    if os.path.isdir(f"{directory}/md"):
        return "RAID"
    try:
        with open(f"{directory}/dm/uuid", encoding="utf-8", errors="replace") as file:
            return file.read().strip().partition("-")[0] or "device-mapper"
    except FileNotFoundError:
        return "" if not device.below or device.name.startswith("loop") else "stack"


def _measure(device: BlockDevice) -> int:
    """Return the size of a device now, in bytes."""
    with open(f"/sys/dev/block/{os.major(device.number)}:{os.minor(device.number)}/size", encoding="ascii") as file:
        return int(file.read()) * SECTOR


def _report(program: str, fields: str, *arguments: str) -> list[dict[str, str]]:
    """Return what a program of LVM reports by the names of the fields, sizes in bytes. Raises OSError."""
    form = ("--noheadings", "--separator", "\t", "--units", "b", "--nosuffix", "--options", fields)
    lines = run_tool((program, *form, *arguments), time_limit=60.0).splitlines()
    rows = [dict(zip(fields.split(","), line.strip(" ").split("\t"))) for line in lines]
    # Physical volumes without a group have no extents.
    return [row for row in rows if row.get("vg_name")]


def check_passphrase(device: str, passphrase: bytes) -> None:
    """Raise OSError (EINVAL) unless a passphrase opens a LUKS device."""
    argv = ("cryptsetup", "--batch-mode", "open", "--test-passphrase", "--key-file", "-", device)
    try:
        run_tool(argv, passphrase, time_limit=300.0)
    except OSError as error:
        raise OSError(EINVAL, f"the passphrase does not open {device}: {error.strerror}") from None
