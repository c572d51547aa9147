"""A virtual machine that runs the lab's guest image as long as a `with` block lasts."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.disks import DiskSpec, make_image
from lab.errors import CommandError, GuestError, LabError
from lab.files import Source, TransferDisk
from lab.hardware import PORT_BUS, command_line, socket_path
from lab.image import Image, ensure_image
from lab.monitor import Monitor
from lab.progress import last_line
from lab.qemu import Qemu
from lab.requirements import require
from lab.shell import GuestShell, Result, ShellLost

#: The ports of the two agents: Phoenix and qemu-ga.
DEFAULT_PORTS = ("org.guest-agent.0", "org.qemu.guest_agent.0")


#: Time limit for a boot, in seconds. A boot takes seconds on an idle machine, and minutes on a busy one without KVM.
BOOT_TIMEOUT = 600.0


class Machine:
    """A guest. Entering the `with` block boots it until commands can be run; leaving the block destroys it.

    Methods raise GuestError, with the last lines of the console, if the guest or QEMU fails.

    Args:
        name: Name of the guest; `phoenixctl guests` shows it.
        ports: Names of virtio-serial ports.
        disks: Additional disks, /dev/vdb and so on in the guest.
        network: Add a network card, `eth0`, which is not configured and has no way out of the guest.
        files: Path in the guest -> source. They are written before the guest's init starts, so that units and udev
            rules among them take effect.
        memory: Size of the memory in QEMU's notation.
        smp: Number of virtual CPUs.
        peer: Let Debian's qemu-guest-agent start if its port exists.
        image: The image to boot. Default: that of the default release, built if necessary.
        overlay: A file that keeps the changes to the root disk; without it they are removed with the machine.
        arguments: Additional arguments of QEMU.
        kernel_arguments: Additional arguments of the kernel.
        boot_timeout: Time limit for the boot, in seconds.
    """

    def __init__(
        self,
        *,
        name: str = "phoenix-lab",
        ports: Sequence[str] = DEFAULT_PORTS,
        disks: Sequence[DiskSpec] = (),
        network: bool = False,
        files: Mapping[str, Source] | None = None,
        memory: str = "512M",
        smp: int = 2,
        peer: bool = True,
        image: Image | None = None,
        overlay: Path | None = None,
        arguments: Iterable[str] = (),
        kernel_arguments: Iterable[str] = (),
        boot_timeout: float = BOOT_TIMEOUT,
    ) -> None:
        self.name = name
        self.ports = list(ports)
        self.disks = list(disks)
        self.network = network
        self.files = dict(files or {})
        self.memory = memory
        self.smp = smp
        self.peer = peer
        self.image = image
        self.overlay = overlay
        self.arguments = list(arguments)
        self.kernel_arguments = list(kernel_arguments)
        self.boot_timeout = boot_timeout
        self.boot_seconds = 0.0
        self._directory: Path | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Starting and stopping

    def start(self) -> None:
        """Boot the guest and wait until commands can be run; `boot_seconds` is the time that this took."""
        if self._directory is not None:
            raise LabError("this machine was started before: make a new one")
        require("qemu-system-x86_64", "qemu-img", "setpriv")
        image = self.image or ensure_image()
        begin = time.monotonic()
        directory = self._directory = Path(tempfile.mkdtemp(prefix="phoenix-lab-"))
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            self._launch(directory, image)
            self.wait_ready(self.boot_timeout)
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - begin

    def _launch(self, directory: Path, image: Image) -> None:
        """Start QEMU and connect to it."""
        root = ["cache=unsafe" if self.overlay is None else "cache=writeback"]
        overlay = self.overlay or directory / "root.qcow2"
        root.append(f"file={overlay}")
        if not overlay.exists():
            make_image(overlay, "qcow2", base=image.root)
        self._transfer = TransferDisk(directory)
        if self.files:
            self._transfer.put(self.files)
        mask = () if self.peer else ("systemd.mask=qemu-guest-agent.service",)
        command = command_line(
            directory,
            image,
            root,
            name=self.name,
            ports=self.ports,
            disks=self.disks,
            network=self.network,
            memory=self.memory,
            smp=self.smp,
            kernel_arguments=[*mask, *self.kernel_arguments],
        )
        self._qemu = Qemu(directory, command + self.arguments)
        self._stack.callback(self._qemu.close)
        # QEMU makes its sockets in order: if this one exists, the monitor's accepts connections.
        shell = socket_path(directory, "shell")
        self._qemu.wait_started(shell)
        try:
            self._monitor = Monitor(socket_path(directory, "qmp"))
            self._stack.callback(self._monitor.close)
            self._shell = GuestShell(shell)
            self._stack.callback(self._shell.close)
        except (OSError, LabError) as error:
            raise self._qemu.failure(f"QEMU did not start: {error}") from None

    def wait_ready(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until a booting guest can run commands, at most `timeout` seconds."""
        try:
            self._shell.wait_ready(time.monotonic() + timeout)
        except GuestError as error:
            raise self._qemu.failure(f"the guest did not boot within {timeout:.0f} s: {error}") from None

    def close(self) -> None:
        """Destroy the guest at once and remove its files. A second call does nothing."""
        if self.overlay is not None and self._directory is not None and self._directory.exists():
            # An overlay to keep is complete only after QEMU has closed it.
            with contextlib.suppress(AttributeError, LabError):
                self.qmp("quit")
                self._qemu.ended(10.0)
        self._stack.close()

    def shutdown(self, timeout: float = 180.0) -> None:
        """Press the guest's power button and wait until it is off, at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        # Repeat it: a guest that has just booted does not yet watch the button.
        while not self._qemu.ended(0.0) and time.monotonic() < deadline:
            with contextlib.suppress(LabError):
                self.qmp("system_powerdown")
            self._qemu.ended(5.0)
        self._qemu.wait_exit(0.0)

    def wait_exit(self, timeout: float = 180.0) -> int:
        """Wait until QEMU ends, because the guest powers off, and return QEMU's exit status."""
        return self._qemu.wait_exit(timeout)

    def reset(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Press the reset button and wait until commands can be run again."""
        self.qmp("system_reset")
        self.wait_ready(timeout)

    def pause(self) -> None:
        """Stop the guest's CPUs."""
        self.qmp("stop")

    def resume(self) -> None:
        """Let the guest's CPUs continue."""
        self.qmp("cont")

    # Commands and files in the guest

    def run(self, command: str, *, timeout: float = 60.0, check: bool = True) -> Result:
        """Run `command` with bash as root. Only one command runs at a time; others wait.

        Args:
            command: The command line.
            timeout: Seconds of the guest's clock after which the command is ended, with status 124.
            check: Raise CommandError if the status is not 0.
        """
        try:
            result = self._shell.run(command, timeout)
        except GuestError as error:
            hint = "" if isinstance(error, ShellLost) else " (is the guest paused, or /run on a frozen file system?)"
            raise self._qemu.failure(f"{command!r} was not answered: {error}{hint}") from None
        if check and result.status != 0:
            raise CommandError(command, result.status, result.output)
        return result

    def copy_in(self, source: Source, path: str) -> None:
        """Copy a file or directory of the host, a GuestFile or content to `path` in the running guest."""
        self.copy_files({path: source})

    def copy_files(self, files: Mapping[str, Source]) -> None:
        """Copy several files into the running guest; `files` is as for the constructor."""
        self._transfer.put(files)
        device = f"/dev/disk/by-id/virtio-{TransferDisk.SERIAL}"
        try:
            # The guest's page cache may hold older content of the disk, which udev may not have named yet.
            self.run(
                f"udevadm wait --timeout=30 {device} 2>/dev/null || udevadm settle; blockdev --flushbufs {device} && "
                f"tar --extract --file={device} --directory=/ --keep-directory-symlink --no-overwrite-dir"
            )
        finally:
            self._transfer.wipe()

    def copy_out(self, path: str) -> bytes:
        """Return the content of a file in the guest, at half a megabyte per second at best."""
        return self.run(f"cat -- {shlex.quote(path)}", timeout=300.0).output

    # Devices and the monitor

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command and return its result. Raises LabError if QEMU refuses it.

        In the names of arguments, `_` stands for `-`.
        """
        return self._monitor.execute(command, {name.replace("_", "-"): v for name, v in arguments.items()})

    def socket(self, port: str) -> Path:
        """Return the Unix socket that is the host's end of the virtio-serial port `port`. Raises LabError."""
        if port not in self.ports:
            raise LabError(f"the machine has no port {port!r}; it has: {', '.join(self.ports) or 'none'}")
        return socket_path(self.directory, f"port-{port}")

    def add_port(self, name: str) -> Path:
        """Plug a virtio-serial port into the running machine and return its socket."""
        if name in self.ports:
            raise LabError(f"the machine already has a port {name!r}")
        path = socket_path(self.directory, f"port-{name}")
        address = {"type": "unix", "data": {"path": str(path)}}
        backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
        self.qmp("chardev-add", id=f"port-{name}", backend=backend)
        try:
            self.qmp(
                "device_add",
                driver="virtserialport",
                bus=PORT_BUS,
                chardev=f"port-{name}",
                name=name,
                id=f"device-{name}",
            )
        except LabError:
            self.qmp("chardev-remove", id=f"port-{name}")
            raise
        self.ports.append(name)
        return path

    def remove_port(self, name: str) -> None:
        """Unplug a virtio-serial port from the running machine and remove its socket."""
        path = self.socket(name)
        self.qmp("device_del", id=f"device-{name}")
        deadline = time.monotonic() + 10.0
        while True:
            # The device releases its back end a little after device_del has returned.
            try:
                self.qmp("chardev-remove", id=f"port-{name}")
                break
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.ports.remove(name)
        path.unlink(missing_ok=True)

    @property
    def directory(self) -> Path:
        """The directory of the machine's files, until it is closed."""
        if self._directory is None:
            raise LabError("the machine has not been started")
        return self._directory

    @property
    def console_log(self) -> Path:
        """The messages of the guest's kernel and init so far; removed with the machine."""
        return self.directory / "console.log"

    def last_message(self) -> str:
        """Return the last line of the console, or an empty string."""
        return last_line(self._directory / "console.log") if self._directory is not None else ""

    @property
    def console_socket(self) -> Path:
        """The socket of the guest's first serial port, for people; it takes one connection at a time."""
        return socket_path(self.directory, "console")

    @property
    def pid(self) -> int:
        """The process ID of QEMU."""
        return int((self.directory / "qemu.pid").read_text())
