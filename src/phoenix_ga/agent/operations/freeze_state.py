"""The note in the run directory that tells a restarted agent which filesystems were left frozen.

A text file; names are escaped as in mountinfo:

    boot 6a7e1a4e-...           (the note is void after a reboot)
    process 812 4711            (who froze: process number, and its start time in clock ticks)
    filesystem 253:0 /          (one line each, in the order of freezing)

It is there from before the first filesystem is frozen until after the last is thawed.
"""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.linux.mounts import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

RUN_DIRECTORY: Final = "/run/phoenix-ga"
FILE_NAME: Final = "frozen"
TEMPORARY_NAME: Final = "frozen.new"


class FreezeState:
    """The state file of the agent. directory: the run directory."""

    __slots__ = ("_descriptor", "_header", "directory")

    def __init__(self, directory: str = RUN_DIRECTORY) -> None:
        self.directory = directory
        self._descriptor = -1
        self._header = b""

    def open(self) -> int:
        """Open the run directory, made where it is missing; return the descriptor, which `close` closes.

        After that, `write` and `remove` walk no path. Raises OSError.
        """
        self.close()
        self._header = b"boot %s\nprocess %d %d\n" % (_boot(), os.getpid(), _start_time(os.getpid()))
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass
        self._descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._descriptor

    def write(self, filesystems: Iterable[tuple[int, str]]) -> None:
        """Replace the file at once by one that names these: device number and mount point. Raises OSError."""
        lines = [
            b"filesystem %d:%d %s\n" % (os.major(device), os.minor(device), escape(point))
            for device, point in filesystems
        ]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(TEMPORARY_NAME, flags, 0o600, dir_fd=self._descriptor)
        try:
            content = self._header + b"".join(lines)
            if os.write(file, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
        os.rename(TEMPORARY_NAME, FILE_NAME, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self) -> None:
        """Remove the file, where there is one. Raises OSError."""
        try:
            if self._descriptor >= 0:
                os.unlink(FILE_NAME, dir_fd=self._descriptor)
            else:
                os.unlink(f"{self.directory}/{FILE_NAME}")
        except FileNotFoundError:
            pass

    def left_behind(self) -> list[int]:
        """Return the device numbers of what a dead agent has left frozen, in the order of freezing.

        Empty where there is no file, where it is from before a reboot (it is removed then), and
        where the agent that wrote it is alive. Raises OSError; EINVAL where the file makes no sense.
        """
        try:
            with open(f"{self.directory}/{FILE_NAME}", "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return []
        devices: list[int] = []
        try:
            for line in content.splitlines():
                kind, value, *rest = line.split(b" ")
                if kind == b"boot" and value != _boot():
                    self.remove()
                    return []
                # The same process is no other agent: it has executed itself anew.
                if kind == b"process" and int(value) != os.getpid() and _start_time(int(value)) == int(rest[0]):
                    return []
                if kind == b"filesystem":
                    major, _, minor = value.partition(b":")
                    devices.append(os.makedev(int(major), int(minor)))
        except (ValueError, IndexError):
            raise OSError(errno.EINVAL, f"{self.directory}/{FILE_NAME} makes no sense") from None
        return devices

    def close(self) -> None:
        """Close the directory, where it is open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _boot() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip()


def _start_time(process: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 where there is none."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # Field 22 of proc(5); the second is a name in parentheses that can hold anything.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return -1
