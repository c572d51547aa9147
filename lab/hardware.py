"""The virtual hardware of a machine, as QEMU's command line."""

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
#: The longest path the kernel takes for a Unix socket, in bytes.
_LONGEST_SOCKET_PATH = 107
# The kernel's warnings and what systemd starts, without colours, go to the console; a panic ends in a reset.
KERNEL_ARGUMENTS = ("root=/dev/vda", "console=ttyS0", "loglevel=5", "net.ifnames=0", "panic=-1", "TERM=dumb")


def socket_path(directory: Path, name: str) -> Path:
    """Where QEMU makes the Unix socket of the character device `name`."""
    path = directory / f"{name}.sock"
    if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
        raise LabError(f"{path} is too long for a socket: set TMPDIR to a shorter directory")
    return path


def command_line(
    directory: Path,
    image: Image,
    root: list[str],
    *,
    ports: Iterable[str],
    disks: list[DiskSpec],
    network: bool,
    memory: str,
    smp: int,
    kernel_arguments: Iterable[str],
) -> list[str]:
    """The command that starts QEMU with its files in `directory`; `root` is the value of -drive for the root disk.

    Serial ports: the first is the console, the second the lab's shell. The sockets `qmp`, `console` and `shell`
    are made in this order, before those of the ports.
    """

    def server(name: str, extra: str = "") -> list[str]:
        path = socket_path(directory, name)
        return ["-chardev", f"socket,id={name},path={path},server=on,wait=off{extra}"]

    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-name", "phoenix-lab",
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
    for name in ports:
        command += server(f"port-{name}")
        command += ["-device", f"virtserialport,bus={PORT_BUS},chardev=port-{name},name={name},id=device-{name}"]
    if network:
        # Without its boot ROM, which is in a package of its own.
        command += ["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,romfile="]
    return command
