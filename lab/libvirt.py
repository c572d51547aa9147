"""Guests of a private libvirtd, separate from the libvirtd of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from xml.sax.saxutils import escape, quoteattr

from lab.disks import DiskSpec, make_image
from lab.errors import LabError
from lab.files import Source, TransferDisk
from lab.hardware import KERNEL_ARGUMENTS, socket_path
from lab.image import ensure_image
from lab.requirements import require
from lab.shell import GuestShell, Result

QEMU_GA_PORT = "org.qemu.guest_agent.0"
_BOOT_SECONDS = 600.0
_START_SECONDS = 180.0
_QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""
_LIBVIRTD_CONF = """
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
"""
# In a private mount namespace, each of libvirt's directories is one of the lab's.
_START = """
for name in etc lib run log cache; do
    case $name in
        etc) place=/etc/libvirt ;;
        run) place=/run/libvirt ;;
        *) place=/var/$name/libvirt ;;
    esac
    mkdir -p "$place" && mount --bind "$0/$name" "$place" || exit 1
done
virtlogd -d -p "$0/virtlogd.pid" && exec libvirtd -p "$0/libvirtd.pid"
"""


class Libvirt:
    """A libvirtd that runs as long as the `with` block. Needs root. Raises LabError."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Libvirt:
        require("libvirtd", "virtlogd", "virsh", "unshare")
        self.directory = Path(tempfile.mkdtemp(prefix="phoenix-libvirt-"))
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        for name in ("etc", "lib", "run", "log", "cache"):
            (self.directory / name).mkdir()
        (self.directory / "etc" / "qemu.conf").write_text(_QEMU_CONF)
        (self.directory / "etc" / "libvirtd.conf").write_text(_LIBVIRTD_CONF)
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def uri(self) -> str:
        """The URI for clients."""
        return f"qemu+unix:///system?socket={self.directory}/run/libvirt-sock"

    @property
    def pid(self) -> int:
        """The process whose mount namespace has this libvirt's directories in their usual places."""
        return int((self.directory / "libvirtd.pid").read_text())

    def virsh(self, *words: object, check: bool = True, timeout: float = 120) -> str:
        """Run virsh and return its output. Raises LabError if it fails and `check` is set."""
        result = subprocess.run(
            ["virsh", "-c", self.uri, *map(str, words)], capture_output=True, text=True, timeout=timeout
        )
        if check and result.returncode != 0:
            raise LabError(f"virsh {' '.join(map(str, words))}: {result.stderr.strip()}")
        return (result.stdout + result.stderr).strip()

    def _start(self) -> None:
        with (self.directory / "log" / "libvirtd.out").open("wb") as log:
            daemon = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", _START, str(self.directory)],
                stdout=log,
                stderr=log,
            )
        self._stack.callback(self._end, daemon)
        deadline = time.monotonic() + _START_SECONDS
        while "Using library" not in self.virsh("version", check=False):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise LabError((self.directory / "log" / "libvirtd.out").read_text(errors="replace"))
            time.sleep(0.1)

    def _end(self, daemon: subprocess.Popen[bytes]) -> None:
        daemon.terminate()
        daemon.wait(_START_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.directory / "virtlogd.pid").read_text()), signal.SIGTERM)


class Domain:
    """A guest of the lab as a libvirt domain of the type `qemu`, with the port of the QEMU Guest Agent.

    Entering the `with` block boots it until commands can be run; leaving the block destroys it.

    Args:
        files: As for `Machine`.
        ports: Names of additional ports; `socket` returns their sockets.
        disks: Additional virtio disks, new and empty.
        peer: As for `Machine`.
    """

    def __init__(
        self,
        libvirt: Libvirt,
        name: str,
        *,
        files: Mapping[str, Source] | None = None,
        ports: tuple[str, ...] = (),
        disks: Sequence[DiskSpec] = (),
        peer: bool = False,
    ) -> None:
        self.libvirt = libvirt
        self.name = name
        self._files = dict(files or {})
        self._ports = ports
        self._disks = list(disks)
        self._peer = peer
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Domain:
        self._directory = self.libvirt.directory / self.name
        self._directory.mkdir()
        image = ensure_image()
        make_image(self._directory / "root.qcow2", "qcow2", base=image.root)
        TransferDisk(self._directory).put(self._files)
        for number, disk in enumerate(self._disks):
            make_image(self._directory / f"disk{number}.{disk.format}", disk.format, size=disk.size)
        description = self._directory / "domain.xml"
        description.write_text(self._xml(image.kernel, image.initramfs))
        self.libvirt.virsh("define", description)
        self._stack.callback(self.libvirt.virsh, "undefine", self.name, check=False)
        try:
            self.boot()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def boot(self) -> None:
        """Start the domain and wait until commands can be run."""
        self.libvirt.virsh("start", self.name)
        self._stack.callback(self.libvirt.virsh, "destroy", self.name, check=False)
        self._shell = GuestShell(socket_path(self._directory, "shell"))
        self._stack.callback(self._shell.close)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until a booting guest can run commands."""
        self._shell.wait_ready(time.monotonic() + _BOOT_SECONDS)

    def run(self, command: str, timeout: float = 60.0) -> Result:
        """Run `command` with bash as root."""
        return self._shell.run(command, timeout)

    def virsh(self, verb: str, *words: object, check: bool = True) -> str:
        """Run a virsh command on this domain and return its output."""
        return self.libvirt.virsh(verb, self.name, *words, check=check)

    def socket(self, port: str) -> Path:
        """Return the Unix socket that is the host's end of a port."""
        return socket_path(self._directory, f"port-{port}")

    def _xml(self, kernel: Path, initramfs: Path) -> str:
        def channel(name: str, path: Path | None) -> str:
            source = f"<source mode='bind' path={quoteattr(str(path))}/>" if path is not None else ""
            return f"<channel type='unix'>{source}<target type='virtio' name={quoteattr(name)}/></channel>"

        def disk(file: str, kind: str, target: str, serial: str) -> str:
            return (
                f"<disk type='file' device='disk'><driver name='qemu' type='{kind}' cache='writeback'/>"
                f"<source file={quoteattr(str(self._directory / file))}/><target dev='{target}' bus='virtio'/>"
                f"<serial>{serial}</serial></disk>"
            )

        def serial(name: str) -> str:
            path = quoteattr(str(socket_path(self._directory, name)))
            return f"<serial type='unix'><source mode='bind' path={path}/></serial>"

        mask = () if self._peer else ("systemd.mask=qemu-guest-agent.service",)
        return (
            f"<domain type='qemu'><name>{escape(self.name)}</name><memory unit='MiB'>512</memory>"
            "<vcpu current='1'>2</vcpu><os><type arch='x86_64' machine='pc'>hvm</type>"
            f"<kernel>{escape(str(kernel))}</kernel><initrd>{escape(str(initramfs))}</initrd>"
            f"<cmdline>{escape(' '.join([*KERNEL_ARGUMENTS, *mask]))}</cmdline></os>"
            "<features><acpi/></features><pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='yes'/></pm>"
            "<on_reboot>restart</on_reboot><devices>"
            + serial("console")
            + serial("shell")
            + disk("root.qcow2", "qcow2", "vda", "lab-root")
            + disk(TransferDisk.NAME, "raw", "vdb", TransferDisk.SERIAL)
            + "".join(
                disk(f"disk{number}.{each.format}", each.format, f"vd{'cdefghij'[number]}", each.serial)
                for number, each in enumerate(self._disks)
            )
            + channel(QEMU_GA_PORT, None)
            + "".join(channel(name, self.socket(name)) for name in self._ports)
            + "<interface type='user'><model type='virtio'/><rom enabled='no'/></interface>"
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
            "<memballoon model='virtio'/></devices></domain>"
        )
