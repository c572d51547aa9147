"""The note in the run directory that tells a restarted agent which filesystems were left frozen.

A text file; names are escaped as in mountinfo:

    boot 6a7e1a4e-...           (the note is void after a reboot)
    process 812 4711            (who froze: process number, and its start time in clock ticks)
    filesystem 253:0 /          (one line each, in the order of freezing)

It is there from before the first filesystem is frozen until after the last is thawed. Where the
guardian of an agent that died has thawed them, it is named `thawed` then. Beside it, `hooks` has the
same first two lines, and names the programs that are owed a `thaw`:

    hook /etc/phoenix-ga/fsfreeze-hook.d/database

The directory itself is locked (flock(2)) by whoever has something to thaw.
"""

from __future__ import annotations

import errno
import fcntl
import os

from phoenix_ga.agent.linux.mounts import escape, unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

RUN_DIRECTORY: Final = "/run/phoenix-ga"
FILE_NAME: Final = "frozen"
TEMPORARY_NAME: Final = "frozen.new"
THAWED_NAME: Final = "thawed"
HOOKS_NAME: Final = "hooks"


class FreezeState:
    """The state files of the agent. directory: the run directory."""

    __slots__ = ("_descriptor", "_header", "directory")

    def __init__(self, directory: str = RUN_DIRECTORY) -> None:
        self.directory = directory
        self._descriptor = -1
        self._header = b""

    def open(self) -> int:
        """Open and lock the run directory, made where it is missing; return the descriptor, which `close` closes.

        Where it is open, it stays so. After that, nothing here walks a path. Raises OSError; EBUSY where another
        agent has the lock.
        """
        if self._descriptor >= 0:
            return self._descriptor
        self._header = b"boot %s\nprocess %d %d\n" % (_boot(), os.getpid(), _start_time(os.getpid()))
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise OSError(errno.EBUSY, "another agent with the same run directory has frozen, or thaws") from None
        self._descriptor = descriptor
        return descriptor

    def write(self, filesystems: Iterable[tuple[int, str]]) -> None:
        """Replace the file at once by one that names these: device number and mount point. Raises OSError."""
        lines = [
            b"filesystem %d:%d %s\n" % (os.major(device), os.minor(device), escape(point))
            for device, point in filesystems
        ]
        self._replace(FILE_NAME, lines)

    def write_hooks(self, owed: Iterable[str]) -> None:
        """Replace the list of hooks at once by these; without any, remove it. Raises OSError."""
        lines = [b"hook %s\n" % escape(path) for path in owed]
        if lines:
            self._replace(HOOKS_NAME, lines)
        else:
            self._unlink(HOOKS_NAME)

    def remove(self) -> None:
        """Remove the file, where there is one. Raises OSError."""
        self._unlink(FILE_NAME)

    def note_rescue(self) -> None:
        """Leave word for the next agent that all was thawed when this one died. Raises OSError."""
        try:
            os.rename(FILE_NAME, THAWED_NAME, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileNotFoundError:
            pass

    def was_rescued(self) -> bool:
        """Tell whether the guardian of a dead agent left word that it thawed; take that away. Raises OSError."""
        found = bool(self._read(THAWED_NAME))
        self._unlink(THAWED_NAME)
        return found

    def left_behind(self) -> list[int]:
        """Return the device numbers of what a dead agent has left frozen, in the order of freezing.

        Empty where there is no file, where it is from before a reboot (it is removed then), and
        where the agent that wrote it is alive. Raises OSError; EINVAL where the file makes no sense.
        """
        try:
            numbers = [value.partition(b" ")[0].partition(b":") for value in self._read(FILE_NAME)]
            return [os.makedev(int(major), int(minor)) for major, _, minor in numbers]
        except ValueError:
            raise self._senseless(FILE_NAME) from None

    def hooks_left_behind(self, is_dead: bool = False) -> list[str]:
        """Return the hooks to which a dead agent owes a thaw, in the order in which they ran, as `left_behind` does.

        is_dead: that the agent is dead is known, though it may still be seen for a moment.
        """
        return [unescape(value) for value in self._read(HOOKS_NAME, is_dead)]

    def close(self) -> None:
        """Close the directory, where it is open, which unlocks it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _replace(self, name: str, lines: list[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(TEMPORARY_NAME, flags, 0o600, dir_fd=self._descriptor)
        try:
            content = self._header + b"".join(lines)
            if os.write(file, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
        os.rename(TEMPORARY_NAME, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def _unlink(self, name: str) -> None:
        try:
            if self._descriptor >= 0:
                os.unlink(name, dir_fd=self._descriptor)
            else:
                os.unlink(f"{self.directory}/{name}")
        except FileNotFoundError:
            pass

    def _read(self, name: str, is_dead: bool = False) -> list[bytes]:
        """Return what the lines of a file say that a dead agent of this boot has left; none of any other."""
        try:
            with open(f"{self.directory}/{name}", "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return []
        values: list[bytes] = []
        try:
            for line in content.splitlines():
                kind, value = line.split(b" ", 1)
                if kind == b"boot" and value != _boot():
                    self._unlink(name)
                    return []
                if kind == b"process" and not is_dead:
                    number, start = value.split(b" ")
                    # The same process is no other agent: it has executed itself anew.
                    if int(number) != os.getpid() and _start_time(int(number)) == int(start):
                        return []
                if kind in (b"filesystem", b"hook"):
                    values.append(value)
        except ValueError:
            raise self._senseless(name) from None
        return values

    def _senseless(self, name: str) -> OSError:
        return OSError(errno.EINVAL, f"{self.directory}/{name} makes no sense")


def _boot() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip()


def _start_time(process: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 where there is none."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # From field 3 of proc(5); the second is a name in parentheses that can hold anything.
            fields = file.read().rpartition(b")")[2].split()
            # One that nobody has waited for yet is dead all the same.
            return -1 if fields[0] in b"ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return -1
