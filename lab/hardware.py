"""The virtual hardware of a machine, as a command line for QEMU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.accelerator import ARGUMENTS, accelerator
from lab.disks import DiskSpec
from lab.errors import LabError
from lab.files import TransferDisk
from lab.image import Image

#: The bus that virtio-serial ports are plugged into.
PORT_BUS = "ports.0"
#: The longest path of a Unix socket that the kernel accepts, in bytes (unix(7)).
_LONGEST_SOCKET_PATH = 107
# The console shows the kernel's warnings and systemd's messages, without colours. A panic resets the machine.
KERNEL_ARGUMENTS = ("root=/dev/vda", "console=ttyS0", "loglevel=5", "net.ifnames=0", "panic=-1", "TERM=dumb")


def socket_path(directory: Path, name: str) -> Path:
    """Return the path of the Unix socket that QEMU makes for the character device `name`. Raises LabError."""
    path = directory / f"{name}.sock"
    if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
        raise LabError(f"{path} is too long for a Unix socket: set TMPDIR to a directory with a shorter path")
    return path


def command_line(
    directory: Path,
    image: Image,
    root: list[str],
    *,
    name: str,
    ports: Iterable[str],
    disks: list[DiskSpec],
    network: bool,
    memory: str,
    smp: int,
    kernel_arguments: Iterable[str],
) -> list[str]:
    """Return the command that starts QEMU with its files in `directory`.

    The first serial port is the console, the second one the lab's shell. QEMU makes the sockets `qmp`, `console`
    and `shell` in this order, before those of the ports.

    Args:
        root: Options of -drive for the root disk.
        name: Name of the guest; with the port of an agent, `phoenixctl guests` lists it.
        ports: Names of virtio-serial ports.
        memory: Size in QEMU's notation.
        smp: Number of virtual CPUs.
    """

    def server(identifier: str, extra: str = "") -> list[str]:
        path = socket_path(directory, identifier)
        return ["-chardev", f"socket,id={identifier},path={path},server=on,wait=off{extra}"]

    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-name", name,
        "-machine", "pc", *ARGUMENTS[accelerator()], "-smp", str(smp), "-m", memory,
        "-pidfile", str(directory / "qemu.pid"),
        "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
        "-append", " ".join([*KERNEL_ARGUMENTS, *kernel_arguments]),
        *server("qmp"), "-mon", "chardev=qmp,mode=control",
        *server("console", f",logfile={directory / 'console.log'}"), "-serial", "chardev:console",
        *server("shell"), "-serial", "chardev:shell",
        "-device", "virtio-rng-pci",
        "-drive", ",".join(["if=none,id=root,format=qcow2", *root]),
        "-device", "virtio-blk-pci,drive=root,serial=lab-root",
    ]  # fmt: skip
    if any(disk.bus == "scsi" for disk in disks):
        command += ["-device", "virtio-scsi-pci"]
    for number, disk in enumerate(disks):
        command += disk.arguments(number, directory)
    command += [
        "-drive", f"if=none,id=transfer,file={directory / TransferDisk.NAME},format=raw",
        "-device", f"virtio-blk-pci,drive=transfer,serial={TransferDisk.SERIAL}",
        "-device", "virtio-serial-pci,id=ports,max_ports=31",
    ]  # fmt: skip
    for port in ports:
        command += server(f"port-{port}")
        command += ["-device", f"virtserialport,bus={PORT_BUS},chardev=port-{port},name={port},id=device-{port}"]
    if network:
        # Without the boot ROM, which is in another package.
        command += ["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,romfile="]
    return command
