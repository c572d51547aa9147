"""Booting a guest from an image for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client import PhoenixError, SyncGuest, connect_sync

#: Default time limit for a boot, in seconds; without KVM it takes long.
BOOT_TIMEOUT: Final = 300.0
_QCOW2: Final = b"QFI\xfb"
# In this order.
_ACCELERATORS: Final = ("kvm", "tcg")
_ATTEMPT: Final = 2.0
_SHOWN: Final = 2000


class BootError(Exception):
    """A guest did not boot, or its agent did not answer. The message has the end of its console."""


@dataclass(frozen=True)
class BootedGuest:
    """A guest that runs.

    Attributes:
        endpoint: where its agent is, for the program that is tested. A port serves one client at a time.
        console: the file with what its console printed.
        process: QEMU.
    """

    endpoint: str
    console: Path
    process: subprocess.Popen[bytes]

    def connect(self, **options: Any) -> AbstractContextManager[SyncGuest]:
        """Return a context manager that connects to the agent; takes the options of `connect_sync`."""
        return connect_sync(self.endpoint, **options)


@contextmanager
def boot_guest(
    image: str | os.PathLike[str],
    *,
    memory: str = "512M",
    cpus: int = 1,
    arguments: Sequence[str] = (),
    timeout: float = BOOT_TIMEOUT,
) -> Iterator[BootedGuest]:
    """Boot a guest for the body of `with`, and stop it at its end. What it writes to its disk is dropped.

    Args:
        image: a bootable disk, qcow2 or raw, in which the agent is installed.
        memory: in QEMU's notation.
        arguments: more arguments of QEMU, such as a kernel, or a network card: by default it has none.
        timeout: until the agent answers, in seconds.

    Raises:
        BootError: QEMU is missing or failed, or the agent does not answer.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="phoenix-guest-") as name:
        directory = Path(name)
        for accelerator in _ACCELERATORS:
            process = _start([*_command(Path(image), memory, cpus, accelerator, directory), *arguments], directory)
            try:
                booted = BootedGuest(f"unix:{directory}/agent.sock", directory / "console.log", process)
                if not _answers(booted, deadline) and accelerator != _ACCELERATORS[-1]:
                    # The device of KVM may exist and not work, as in a virtual machine.
                    continue
                if process.poll() is not None:
                    raise BootError(f"QEMU ended: {_end_of(directory / 'qemu.log') or _end_of(booted.console)}")
                yield booted
                return
            finally:
                process.kill()
                process.wait()


def _start(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    """Start QEMU. Raises BootError."""
    with (directory / "qemu.log").open("wb") as log:
        try:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            raise BootError(f"{error.filename}: {error.strerror}; install qemu-system-x86") from None


def _command(image: Path, memory: str, cpus: int, accelerator: str, directory: Path) -> list[str]:
    try:
        with image.open("rb") as file:
            form = "qcow2" if file.read(len(_QCOW2)) == _QCOW2 else "raw"
    except OSError as error:
        raise BootError(f"{image}: {error.strerror}") from None
    # QEMU must not outlive a test process that was killed.
    setpriv = shutil.which("setpriv")
    return [
        *([setpriv, "--pdeathsig", "KILL"] if setpriv else []),
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-accel", accelerator, "-cpu", "max", "-smp", str(cpus), "-m", memory),
        # Before further devices, so that it is the first disk; QEMU would put one of if=virtio behind them.
        *("-drive", f"file={str(image).replace(',', ',,')},format={form},if=none,id=root,snapshot=on"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-serial", f"file:{directory}/console.log"),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,path={directory}/agent.sock,server=on,wait=off"),
        *("-device", "virtserialport,chardev=agent,name=org.guest-agent.0"),
    ]


def _answers(booted: BootedGuest, deadline: float) -> bool:
    """Wait until the agent answers; return False if QEMU has ended. Raises BootError if it is too late."""
    problem: Exception | None = None
    while time.monotonic() < deadline:
        if booted.process.poll() is not None:
            return False
        try:
            with booted.connect(connect_timeout=_ATTEMPT, timeout=_ATTEMPT) as guest:
                guest.ping()
            return True
        except PhoenixError as error:
            problem = error
            time.sleep(0.1)
    raise BootError(f"the agent does not answer: {problem}; the end of the console:\n{_end_of(booted.console)}")


def _end_of(path: Path) -> str:
    return path.read_text(errors="replace")[-_SHOWN:].strip() if path.exists() else ""
