"""The files in the run directory from which the next agent learns what was left frozen.

The file `frozen`; names are escaped as in mountinfo, see proc(5):

    boot 6a7e1a4e-...           (the file is void after a reboot)
    process 812 4711            (the agent: process ID, and start time in clock ticks)
    generation 5f0c... 17642... (of the freeze, and when it began, in milliseconds since the epoch)
    filesystem 253:0 /          (one line each, in the order of freezing)

It exists from before the first filesystem is frozen until after the last is thawed. If the agent dies and its
watchdog thaws, the watchdog renames it to `thawed`. The file `hooks` has the same first two lines, then the
programs that must still run with `thaw`:

    hook /etc/phoenix-ga/fsfreeze-hook.d/database

The directory is locked (flock(2)) by every process that has something to thaw.
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
    """The state files in the run directory `directory`."""

    __slots__ = ("_descriptor", "_header", "directory")

    def __init__(self, directory: str = RUN_DIRECTORY) -> None:
        self.directory = directory
        self._descriptor = -1
        self._header = b""

    def open(self) -> int:
        """Open and lock the run directory, creating it if needed; return the descriptor, which stays open.

        Until `close`, no method walks a path.

        Raises:
            OSError: EBUSY if another agent holds the lock.
        """
        if self._descriptor < 0:
            try:
                self._descriptor = self._open()
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise
                reason = f"cannot use the run directory {self.directory}: {error.strerror}; nothing was frozen"
                raise OSError(error.errno, reason) from error
        return self._descriptor

    def write(self, filesystems: Iterable[tuple[int, str]], generation: str = "", since: int = 0) -> None:
        """Replace the file `frozen` atomically.

        Args:
            filesystems: device number and mount point of each.
            generation, since: of the freeze, see `FreezeRecord`.
        """
        lines = [b"generation %s %d\n" % (generation.encode("ascii"), since)] if generation else []
        lines += [
            b"filesystem %d:%d %s\n" % (os.major(device), os.minor(device), escape(point))
            for device, point in filesystems
        ]
        self._replace(FILE_NAME, lines)

    def write_hooks(self, hooks: Iterable[str]) -> None:
        """Replace the file `hooks` atomically; remove it if there are none. Raises OSError."""
        lines = [b"hook %s\n" % escape(path) for path in hooks]
        if lines:
            self._replace(HOOKS_NAME, lines)
        else:
            self._unlink(HOOKS_NAME)

    def remove(self) -> None:
        """Remove the file `frozen`, or what the watchdog of a dead agent made of it. Raises OSError."""
        # In this order: the watchdog may rename it meanwhile.
        self._unlink(FILE_NAME)
        self._unlink(THAWED_NAME)

    def note_rescue(self) -> None:
        """In the watchdog of a dead agent: record for the next agent that everything was thawed. Raises OSError."""
        try:
            os.rename(FILE_NAME, THAWED_NAME, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileNotFoundError:
            pass

    def was_rescued(self) -> bool:
        """Return whether the watchdog of a dead agent thawed. Raises OSError."""
        return bool(self._read(THAWED_NAME, b"filesystem"))

    def generation_left_behind(self) -> tuple[str, int, int]:
        """Return the generation of the freeze that a dead agent left, when it began, and when its watchdog thawed it.

        The times are in milliseconds since the epoch, 0 if unknown. Raises OSError.
        """
        for name in (FILE_NAME, THAWED_NAME):
            for value in self._read(name, b"generation"):
                generation, _, since = value.decode("ascii", "replace").partition(" ")
                # The watchdog renames the file when it has thawed.
                status = os.stat(f"{self.directory}/{name}")
                until = status.st_ctime_ns // 1_000_000 if name == THAWED_NAME else 0
                return generation, int(since) if since.isdigit() else 0, until
        return "", 0, 0

    def left_behind(self) -> list[int]:
        """Return the device numbers of what a dead agent left frozen, in the order of freezing.

        Empty if there is no file, if it is from before a reboot (then it is removed), or if the agent that
        wrote it is alive.

        Raises:
            OSError: EINVAL if the file is malformed.
        """
        try:
            numbers = [value.partition(b" ")[0].partition(b":") for value in self._read(FILE_NAME, b"filesystem")]
            return [os.makedev(int(major), int(minor)) for major, _, minor in numbers]
        except ValueError:
            raise self._malformed(FILE_NAME) from None

    def hooks_left_behind(self, is_dead: bool = False) -> list[str]:
        """Return the hooks that a dead agent did not run with `thaw`, in the order in which they ran.

        Args:
            is_dead: the agent is known to be dead, though its process may not have vanished yet.
        """
        return [unescape(value) for value in self._read(HOOKS_NAME, b"hook", is_dead)]

    def close(self) -> None:
        """Close the directory if it is open, which unlocks it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
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
            raise OSError(
                errno.EBUSY, "another agent with the same run directory has frozen, or is thawing"
            ) from None
        return descriptor

    def _replace(self, name: str, lines: list[bytes]) -> None:
        try:
            self._write_new(self._header + b"".join(lines))
            os.rename(TEMPORARY_NAME, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except OSError as error:
            reason = f"cannot write to the run directory {self.directory}: {error.strerror}"
            raise OSError(error.errno, reason) from error

    def _write_new(self, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(TEMPORARY_NAME, flags, 0o600, dir_fd=self._descriptor)
        try:
            if os.write(file, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.unlink(TEMPORARY_NAME, dir_fd=self._descriptor)
            raise
        finally:
            os.close(file)

    def _unlink(self, name: str) -> None:
        try:
            if self._descriptor >= 0:
                os.unlink(name, dir_fd=self._descriptor)
            else:
                os.unlink(f"{self.directory}/{name}")
        except FileNotFoundError:
            pass

    def _read(self, name: str, wanted: bytes, is_dead: bool = False) -> list[bytes]:
        """Return the values of the `wanted` lines of a file that a dead agent of this boot left, if one did."""
        try:
            with open(f"{self.directory}/{name}", "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return []
        values: list[bytes] = []
        try:
            # Not splitlines(): a carriage return in a name is not escaped.
            for line in content.split(b"\n")[:-1]:
                kind, value = line.split(b" ", 1)
                if kind == b"boot" and value != _boot():
                    self._unlink(name)
                    return []
                if kind == b"process" and not is_dead:
                    number, start = value.split(b" ")
                    # The same process is not another agent: it has executed itself again.
                    if int(number) != os.getpid() and _start_time(int(number)) == int(start):
                        return []
                if kind == wanted:
                    values.append(value)
        except ValueError:
            raise self._malformed(name) from None
        return values

    def _malformed(self, name: str) -> OSError:
        return OSError(errno.EINVAL, f"{self.directory}/{name} is malformed")


def _boot() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip()


def _start_time(process: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 if it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # From field 3 of proc(5); the second is a name in parentheses that can hold anything.
            fields = file.read().rpartition(b")")[2].split()
            # A zombie is dead, too.
            return -1 if fields[0] in b"ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return -1
