"""Real filesystems to freeze, on loop devices: never those of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.linux.freeze import FreezeBackend
from phoenix_ga.agent.linux.mounts import Mount
from phoenix_ga.agent.operations.freeze.freezer import Freezer

TIMEOUT = 10.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_frozen(freezer: Freezer) -> bool:
    """What mypy does not take for the same at every call."""
    return freezer.frozen


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def program(name: str) -> str:
    path = shutil.which(name, path=SYSTEM_PATH)
    assert path, f"{name} is missing"
    return path


def run(name: str, *arguments: str | bytes | Path) -> str:
    result = subprocess.run([program(name), *arguments], check=True, stdout=subprocess.PIPE)
    return result.stdout.decode().strip()


class OnlyBelow(FreezeBackend):
    """The real kernel, of which only mounts below a directory are seen."""

    def __init__(self, directory: Path) -> None:
        self._prefix = os.fsencode(directory) + b"/"
        self._never = os.stat("/").st_dev
        self.calls: list[str] = []
        # The call of this number fails.
        self.fail_at = -1

    def mounts(self) -> list[Mount]:
        return [mount for mount in super().mounts() if mount.path.startswith(self._prefix)]

    def mounts_elsewhere(self, known: set[int]) -> list[Mount]:
        # Other tests have namespaces of their own.
        return [mount for mount in super().mounts_elsewhere(known) if mount.path.startswith(self._prefix)]

    def sync(self, descriptor: int) -> None:
        """This machine has other things to do than to write all that is dirty."""

    def freeze(self, descriptor: int) -> None:
        assert os.fstat(descriptor).st_dev != self._never
        point = os.readlink(f"/proc/self/fd/{descriptor}")
        self.calls.append("freeze " + os.path.basename(point))
        if len(self.calls) == self.fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().freeze(descriptor)

    def thaw(self, descriptor: int) -> None:
        self.calls.append("thaw " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        super().thaw(descriptor)


class Writer:
    """A process that writes a file into a directory."""

    def __init__(self, directory: Path) -> None:
        script = "import os, sys; os.close(os.open(os.path.join(sys.argv[1], 'w%d' % os.getpid()), os.O_CREAT))"
        self.process = subprocess.Popen([sys.executable, "-I", "-S", "-c", script, directory])

    def is_blocked(self) -> bool:
        """Tell whether it waits in the kernel, see `D` in proc(5); wait until that is certain."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            state = Path(f"/proc/{self.process.pid}/wchan").read_text()
            status = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if status == "D" and ("percpu_rwsem" in state or "freeze" in state or state == "0"):
                time.sleep(0.1)
                return self.process.poll() is None
            time.sleep(0.01)
        return True

    def ended(self) -> bool:
        return self.process.wait(TIMEOUT) == 0


@contextlib.contextmanager
def hung_fuse(point: Path) -> Iterator[int]:
    """Mount a FUSE filesystem that never answers, as any user can over their directories. Yields its /dev/fuse."""
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        data = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % server
        assert libc.mount(b"hung", os.fsencode(point), b"fuse", ctypes.c_ulong(0), data) == 0, ctypes.get_errno()
        try:
            yield server
        finally:
            # MNT_DETACH
            assert libc.umount2(os.fsencode(point), 2) == 0
    finally:
        # Whoever waits for an answer gets an error.
        os.close(server)


def take_request(server: int) -> int:
    """Take the first request to a FUSE filesystem; return its opcode. Whoever made it cannot be killed any more."""
    # See fuse_in_header, fuse_out_header and fuse_init_out in linux/fuse.h.
    while True:
        _, opcode, unique = struct.unpack_from("<IIQ", os.read(server, 1 << 20))
        if opcode != 26:
            return int(opcode)
        header = struct.pack("<IiQ", 80, 0, unique)
        os.write(server, header + struct.pack("<IIIIHHI", 7, 31, 0, 0, 12, 9, 4096) + bytes(40))


class Bench:
    """Makes filesystems in files and mounts them; takes all down at the end, frozen or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()
        self._writers: list[Writer] = []

    def write(self, directory: Path) -> Writer:
        """Start to write into a directory."""
        self._writers.append(Writer(directory))
        return self._writers[-1]

    def make(self, image: Path, point: str | bytes, kind: str = "ext4", size: str = "24M") -> Path:
        path = Path(os.fsdecode(os.path.join(os.fsencode(self.directory), os.fsencode(point))))
        path.mkdir(exist_ok=True)
        run("truncate", "-s", size, image)
        run("mkfs." + kind, "-q", image)
        loop = run("losetup", "--find", "--show", image)
        self._stack.callback(run, "losetup", "--detach", loop)
        self.mount(loop, path)
        return path

    def mount(self, source: str | Path, point: Path, *options: str) -> None:
        run("mount", *options, source, point)
        self._stack.callback(run, "umount", point)

    def close(self) -> None:
        # A test that failed may have left filesystems frozen, which nobody could unmount then.
        kernel = OnlyBelow(self.directory)
        for mount in kernel.mounts():
            with contextlib.suppress(OSError):
                descriptor = os.open(mount.path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    if os.fstat(descriptor).st_dev == mount.device:
                        FreezeBackend.thaw(kernel, descriptor)
                finally:
                    os.close(descriptor)
        for writer in self._writers:
            writer.ended()
        self._stack.close()
