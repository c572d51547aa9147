"""Where a disk is attached: the controller and the address on it, from sysfs and udev.

The numbers are those by which hypervisors attach disks: libvirt finds its own name for a disk by them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from phoenix_ga.agent.linux.block_devices import BlockDevice

# ID_SERIAL and the like: /run/udev/data/bMAJOR:MINOR, whose lines are `E:NAME=VALUE` and others.
_UDEV: Final = "/run/udev/data"


class DiskAddress:
    """The place of a disk.

    pci: domain, bus, slot and function of its controller; None if that is not on PCI. ccw: cssid,
    ssid, subchannel and device number on a mainframe, else None. bus_type: one of QEMU's
    GuestDiskBusType, such as `virtio`, `scsi`, `sata`. bus, target, unit: on the controller; -1 if
    not known.
    """

    __slots__ = ("bus", "bus_type", "ccw", "pci", "target", "unit")

    def __init__(self, bus_type: str, bus: int = -1, target: int = -1, unit: int = -1) -> None:
        self.bus_type = bus_type
        self.bus = bus
        self.target = target
        self.unit = unit
        self.pci: tuple[int, int, int, int] | None = None
        self.ccw: tuple[int, int, int, int] | None = None


def disk_address(disk: BlockDevice, root: str = "") -> DiskAddress | None:
    """Return where a disk is attached; None for a virtual disk (loop, device-mapper, RAID...)."""
    path = os.path.realpath(f"{root}/sys/block/{disk.name}")
    if "/virtual/nvme-subsystem/" in path:
        path = _first_controller(os.path.dirname(path))
    parts = path.split("/")
    if "virtual" in parts:
        return None
    pci_at = max((at for at, part in enumerate(parts) if _pci(part)), default=-1)
    address = _place(disk.name, parts, pci_at)
    if pci_at >= 0:
        address.pci = _pci(parts[pci_at])
    else:
        address.ccw = _ccw(parts)
    return address


def disk_serial(disk: BlockDevice, root: str = "") -> str:
    """Return the serial number of a disk from udev, else from the kernel; empty if unknown."""
    serial = udev_properties(disk.number, root).get("ID_SERIAL", "")
    for name in ("serial", "device/serial"):
        serial = serial or _read(f"{root}/sys/block/{disk.name}/{name}").decode("utf-8", "replace").strip()
    # The unit serial number page of SCSI (SPC-4): four bytes of header, then the number.
    return serial or _read(f"{root}/sys/block/{disk.name}/device/vpd_pg80")[4:].decode("ascii", "replace").strip(
        " \0"
    )


def udev_properties(number: int, root: str = "") -> dict[str, str]:
    """Return udev's properties of a block device; empty if there is no udev."""
    properties = {}
    content = _read(f"{root}{_UDEV}/b{os.major(number)}:{os.minor(number)}").decode("utf-8", "surrogateescape")
    for line in content.split("\n"):
        if line.startswith("E:"):
            name, _, value = line[2:].partition("=")
            properties[name] = value
    return properties


def _place(name: str, parts: Sequence[str], pci_at: int) -> DiskAddress:
    """Return the address of a disk from its path in sysfs."""
    if name.startswith("nvme"):
        return DiskAddress("nvme", 0, 0, 0)
    if name.startswith("mmcblk"):
        return DiskAddress("mmc", 0, 0, 0)
    if name.startswith("fd"):
        return DiskAddress("fdc", 0, 0, int(name[2:]) if name[2:].isdecimal() else -1)
    if name.startswith("xvd") or any(part.startswith("vbd-") for part in parts):
        return DiskAddress("xen", 0, 0, 0)
    scsi = next((found for found in map(_scsi, parts) if found), None)
    if scsi is None:
        is_virtio = any(part.startswith("virtio") and part[6:].isdecimal() for part in parts)
        return DiskAddress("virtio", 0, 0, 0) if is_virtio else DiskAddress("unknown")
    channel, target, unit = scsi
    if any(part.startswith("usb") for part in parts):
        return DiskAddress("usb", channel, target, unit)
    controller = "/".join(parts[: pci_at + 1])
    driver = os.path.basename(os.path.realpath(f"{controller}/driver")) if pci_at >= 0 else ""
    port = next((part for part in parts if part.startswith("ata") and part[3:].isdecimal()), "")
    if port:
        # Ports are numbered over all controllers; find the index on this one.
        ports = sorted(int(part[3:]) for part in _list(controller) if part.startswith("ata") and part[3:].isdecimal())
        index = ports.index(int(port[3:])) if int(port[3:]) in ports else -1
        if driver == "ahci" or driver.startswith("sata_"):
            return DiskAddress("sata", 0, 0, index)
        return DiskAddress("ide", index, 0, target)
    if driver == "sym53c8xx":
        # Hypervisors count the targets of this one as units.
        return DiskAddress("scsi", channel, 0, target)
    for sign, kind in (("session", "iscsi"), ("rport-", "fibre"), ("end_device-", "sas")):
        if any(part.startswith(sign) for part in parts):
            return DiskAddress(kind, channel, target, unit)
    return DiskAddress("scsi", channel, target, unit)


def _first_controller(subsystem: str) -> str:
    """Return the path of the first controller of an NVMe subsystem, of which there may be several."""
    for name in sorted(_list(subsystem)):
        path = os.path.realpath(f"{subsystem}/{name}")
        if name.startswith("nvme") and os.path.dirname(path) != subsystem:
            return path
    return subsystem


def _pci(part: str) -> tuple[int, int, int, int] | None:
    """Decode `0000:00:1f.2`: domain, bus, slot and function, all hexadecimal."""
    fields = part.replace(".", ":").split(":")
    if len(fields) != 4 or part[-2:-1] != ".":
        return None
    try:
        domain, bus, slot, function = (int(field, 16) for field in fields)
    except ValueError:
        return None
    return domain, bus, slot, function


def _scsi(part: str) -> tuple[int, int, int] | None:
    """Decode `2:0:1:0`: host, channel, target and unit, all decimal; return the last three."""
    fields = part.split(":")
    if len(fields) != 4 or not all(field.isdecimal() for field in fields):
        return None
    return int(fields[1]), int(fields[2]), int(fields[3])


def _ccw(parts: Sequence[str]) -> tuple[int, int, int, int] | None:
    """Find `css0/0.0.0003/0.0.0001`, the subchannel and the device on it, all hexadecimal."""
    try:
        at = next(at for at, part in enumerate(parts) if part.startswith("css"))
        _, ssid, subchannel = (int(field, 16) for field in parts[at + 1].split("."))
        cssid, _, device = (int(field, 16) for field in parts[at + 2].split("."))
    except (StopIteration, ValueError, IndexError):
        return None
    return cssid, ssid, subchannel, device


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
