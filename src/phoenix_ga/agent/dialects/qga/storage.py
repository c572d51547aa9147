"""The commands about disks and filesystems, but for those that freeze."""

from __future__ import annotations

from phoenix_ga.agent.operations import storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def guest_get_fsinfo(context: Context) -> list[dict[str, Any]]:
    """List the filesystems on disks by mount point. Raises OSError if /proc or /sys is missing."""
    return [_filesystem(each) for each in storage.mounted_filesystems()]


def guest_get_disks(context: Context) -> list[dict[str, Any]]:
    """List the block devices that have a size. Raises OSError if /sys is missing."""
    return [_disk(each) for each in storage.disks()]


def guest_get_diskstats(context: Context) -> list[dict[str, Any]]:
    """List the kernel's counters of each block device. Raises OSError if /proc is missing."""
    return [
        {"name": each.name, "major": each.major, "minor": each.minor, "stats": each.values}
        for each in storage.disk_statistics()
    ]


def guest_fstrim(context: Context, minimum: int | None) -> dict[str, Any]:
    """Trim the filesystems on disks. Raises OSError if /proc or /sys is missing."""
    paths: list[dict[str, Any]] = []
    for each in storage.trim_filesystems(minimum or 0):
        if each.error:
            paths.append({"path": each.point, "error": each.error})
        else:
            paths.append({"path": each.point, "trimmed": _signed(each.trimmed), "minimum": _signed(each.minimum)})
    return {"paths": paths}


def _filesystem(filesystem: storage.MountedFilesystem) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": filesystem.name,
        "mountpoint": filesystem.point,
        "type": filesystem.type,
        "disk": [_address(place) for place in filesystem.places],
    }
    if filesystem.sizes is not None:
        used, total, privileged = filesystem.sizes
        entry.update({"used-bytes": used, "total-bytes": total, "total-bytes-privileged": privileged})
    return entry


def _disk(disk: storage.Disk) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": disk.path, "partition": disk.is_partition, "dependencies": disk.below}
    if disk.place is not None:
        entry["address"] = _address(disk.place)
    if disk.alias:
        entry["alias"] = disk.alias
    if disk.health:
        entry["smart"] = {"type": "nvme", **disk.health}
    return entry


def _address(place: storage.Place) -> dict[str, Any]:
    address = place.address
    pci = dict(zip(("domain", "bus", "slot", "function"), address.pci or (-1, -1, -1, -1)))
    entry: dict[str, Any] = {
        "pci-controller": pci,
        "bus-type": address.bus_type,
        "bus": address.bus,
        "target": address.target,
        "unit": address.unit,
        "dev": place.path,
    }
    if place.serial:
        entry["serial"] = place.serial
    if address.ccw is not None:
        entry["ccw-address"] = dict(zip(("cssid", "ssid", "subchno", "devno"), address.ccw))
    return entry


def _signed(number: int) -> int:
    """Return a number of 64 bits as the schema has it, with a sign."""
    return number - 2**64 if number >= 2**63 else number
