"""The disks of a machine, apart from its root disk."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

_DEVICES = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "nvme": "nvme", "ide": "ide-hd"}


@dataclass(frozen=True)
class DiskSpec:
    """A disk to attach to a machine.

    Attributes:
        size: Size of a new, empty disk in QEMU's notation (`64M`, `1G`); the disk is removed with the machine.
        serial: Serial number, `diskN` by default. A virtio disk appears as /dev/disk/by-id/virtio-SERIAL.
        path: An existing image to use instead of a new disk. The guest writes to it.
        format: Format of the image: `raw` or `qcow2`.
        bus: `virtio`, `scsi`, `nvme` or `ide`.
    """

    size: str = "64M"
    serial: str = ""
    path: Path | None = None
    format: str = "raw"
    bus: str = "virtio"

    def arguments(self, number: int, directory: Path) -> list[str]:
        """Return QEMU's arguments for disk `number` (from 0) ; make its file in `directory` if necessary."""
        if self.bus not in _DEVICES:
            raise LabError(f"unknown disk bus {self.bus!r}: use one of {', '.join(_DEVICES)}")
        serial = self.serial or f"disk{number}"
        path = self.path
        if path is None:
            path = directory / f"disk{number}.{self.format}"
            make_image(path, self.format, size=self.size)
        return [
            "-drive", f"if=none,id=disk{number},file={path},format={self.format},cache=unsafe,discard=unmap",
            "-device", f"{_DEVICES[self.bus]},drive=disk{number},serial={serial},id=device-disk{number}",
        ]  # fmt: skip


def make_image(path: Path, image_format: str, *, size: str | None = None, base: Path | None = None) -> None:
    """Make an empty disk image of `size`, or an overlay over the raw image `base`. Raises LabError."""
    command = ["qemu-img", "create", "-q", "-f", image_format]
    if base is not None:
        command += ["-F", "raw", "-b", str(base)]
    command.append(str(path))
    if size is not None:
        command.append(size)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"cannot make the disk image {path}: {done.stdout.strip()}")
