"""Where disks are attached, on the paths that sysfs has for the controllers that hypervisors offer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phoenix_ga.agent.linux.block_devices import BlockDevice
from phoenix_ga.agent.linux.disk_address import disk_address, disk_serial

PCI = "devices/pci0000:00"
SCSI = "host2/target2:0:5/2:0:5:3/block/sda"


class Sysfs:
    """A small /sys, in which disks are added one by one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/block").mkdir(parents=True)

    def add(self, path: str, driver: str = "", beside: tuple[str, ...] = ()) -> BlockDevice:
        """Add the disk with this path; driver: of the last PCI device in it; beside: directories in that one."""
        directory = self.root / "sys" / path
        directory.mkdir(parents=True)
        name = directory.name
        (self.root / "sys/block" / name).symlink_to(directory)
        controller = next((each for each in directory.parents if each.name[-2:-1] == "."), None)
        if driver and controller is not None:
            (self.root / "drivers" / driver).mkdir(parents=True)
            (controller / "driver").symlink_to(self.root / "drivers" / driver)
            for each in beside:
                (controller / each).mkdir()
        return BlockDevice(os.makedev(8, 16), name)


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


@pytest.mark.parametrize(
    ("path", "driver", "beside", "pci", "place"),
    [
        (f"{PCI}/0000:00:05.0/virtio3/block/vdb", "virtio-pci", (), (0, 0, 5, 0), ("virtio", 0, 0, 0)),
        # Behind a PCIe root port.
        (
            f"{PCI}/0000:00:02.3/0000:04:00.0/virtio3/block/vdb",
            "virtio-pci",
            (),
            (0, 4, 0, 0),
            ("virtio", 0, 0, 0),
        ),
        (f"{PCI}/0000:00:1f.0/virtio2/{SCSI}", "virtio-pci", (), (0, 0, 31, 0), ("scsi", 0, 5, 3)),
        (f"{PCI}/0000:00:04.0/{SCSI}", "sym53c8xx", (), (0, 0, 4, 0), ("scsi", 0, 0, 5)),
        (f"{PCI}/0000:00:04.0/{SCSI}", "vmw_pvscsi", (), (0, 0, 4, 0), ("scsi", 0, 5, 3)),
        (f"{PCI}/0000:00:04.0/host2/session1/{SCSI[6:]}", "qla4xxx", (), (0, 0, 4, 0), ("iscsi", 0, 5, 3)),
        (
            f"{PCI}/0000:00:04.0/host2/port-2:0/end_device-2:0/{SCSI[6:]}",
            "mptsas",
            (),
            (0, 0, 4, 0),
            ("sas", 0, 5, 3),
        ),
        (
            f"{PCI}/0000:00:1f.2/ata12/host3/target3:0:0/3:0:0:0/block/sdd",
            "ahci",
            ("ata9", "ata10", "ata11", "power"),
            (0, 0, 31, 2),
            ("sata", 0, 0, 3),
        ),
        (
            f"{PCI}/0000:00:01.1/ata2/host3/target3:0:1/3:0:1:0/block/sdd",
            "ata_piix",
            ("ata1",),
            (0, 0, 1, 1),
            ("ide", 1, 0, 1),
        ),
        (
            f"{PCI}/0000:00:0c.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sde",
            "xhci_hcd",
            (),
            (0, 0, 12, 0),
            ("usb", 0, 0, 0),
        ),
        (f"{PCI}/0000:00:07.0/nvme/nvme0/nvme0n1", "nvme", (), (0, 0, 7, 0), ("nvme", 0, 0, 0)),
        (
            f"{PCI}/0000:00:06.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
            "sdhci-pci",
            (),
            (0, 0, 6, 0),
            ("mmc", 0, 0, 0),
        ),
        ("devices/platform/a003e00.virtio_mmio/virtio0/block/vda", "", (), None, ("virtio", 0, 0, 0)),
        ("devices/vbd-51712/block/xvda", "", (), None, ("xen", 0, 0, 0)),
        ("devices/platform/floppy.0/block/fd1", "", (), None, ("fdc", 0, 0, 1)),
        ("devices/rbd/0/block/rbd0", "", (), None, ("unknown", -1, -1, -1)),
        # A domain of more than four digits, as a VMD controller has.
        ("devices/pci10000:e0/10000:e0:1d.4/nvme/nvme1/nvme1n1", "nvme", (), (0x10000, 0xE0, 0x1D, 4), None),
    ],
)
def test_places(
    sysfs: Sysfs,
    path: str,
    driver: str,
    beside: tuple[str, ...],
    pci: tuple[int, int, int, int] | None,
    place: tuple[str, int, int, int] | None,
) -> None:
    address = disk_address(sysfs.add(path, driver, beside), str(sysfs.root))
    assert address is not None
    assert (address.pci, address.ccw) == (pci, None)
    found = (address.bus_type, address.bus, address.target, address.unit)
    assert found == (place or ("nvme", 0, 0, 0))


def test_a_disk_of_a_mainframe(sysfs: Sysfs) -> None:
    address = disk_address(sysfs.add("devices/css0/0.1.00aa/0.1.1000/virtio1/block/vda"), str(sysfs.root))
    assert address is not None
    assert (address.bus_type, address.pci, address.ccw) == ("virtio", None, (0, 1, 0xAA, 0x1000))


@pytest.mark.parametrize("name", ["loop0", "dm-0", "md127", "zram0"])
def test_what_is_virtual_has_no_place(sysfs: Sysfs, name: str) -> None:
    assert disk_address(sysfs.add(f"devices/virtual/block/{name}"), str(sysfs.root)) is None


def test_an_nvme_disk_with_several_ways_to_it_is_where_its_first_controller_is(sysfs: Sysfs) -> None:
    disk = sysfs.add("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
    for number in (1, 0):
        controller = sysfs.root / "sys" / PCI / f"0000:00:0{number + 3}.0/nvme/nvme{number}"
        controller.mkdir(parents=True)
        (sysfs.root / f"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme{number}").symlink_to(controller)
    address = disk_address(disk, str(sysfs.root))
    assert address is not None
    assert (address.bus_type, address.pci) == ("nvme", (0, 0, 3, 0))


def test_the_serial_is_that_of_udev_else_that_of_the_kernel(sysfs: Sysfs) -> None:
    root = sysfs.root
    disk = sysfs.add(f"{PCI}/0000:00:04.0/virtio2/{SCSI}")
    assert disk_serial(disk, str(root)) == ""
    (root / "sys/block/sda/device").mkdir()
    (root / "sys/block/sda/device/vpd_pg80").write_bytes(b"\0\x80\0\x06disk2 ")
    assert disk_serial(disk, str(root)) == "disk2"
    (root / "sys/block/sda/serial").write_text("of virtio\n")
    assert disk_serial(disk, str(root)) == "of virtio"
    (root / "run/udev/data").mkdir(parents=True)
    (root / "run/udev/data/b8:16").write_text(
        "S:disk/by-id/x\nE:ID_SERIAL_SHORT=x\nE:ID_SERIAL=0QEMU_disk=2\nG:seat\n"
    )
    assert disk_serial(disk, str(root)) == "0QEMU_disk=2"
