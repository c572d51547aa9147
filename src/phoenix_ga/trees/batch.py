"""New files on their way to the disk and to their names, many at a time.

To make one file durable, a filesystem commits its journal, which takes longer than all else about a small file. Here
many files share a commit: they get their names once the data of all of them is on the disk.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from errno import EINVAL, EISDIR, ENOENT, EOPNOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Each step holds a descriptor; the usual limit is 1024.
STEPS_MAX: Final = 256
_SIZE_MAX: Final = 64 * 1024 * 1024
_THREADS: Final = 16
_SUFFIX: Final = b".phoenix-part"
_NO_TMPFILE: Final = (EISDIR, EINVAL, ENOENT, EOPNOTSUPP)


class NewFile:
    """A file that is written, and has no name yet.

    Args:
        directory: a descriptor, which must stay open.
        part: the name that it is to have there.
        name: the same, from the root of the tree.

    Attributes:
        fd: open for writing.
        name: as given.
    """

    __slots__ = ("_directory", "_error", "_part", "_temporary", "fd", "name")

    def __init__(self, directory: int, part: bytes, name: bytes) -> None:
        self._directory = directory
        self._part = part
        # A name that it has before, on filesystems without nameless files.
        self._temporary = b""
        self._error: OSError | None = None
        self.name = name
        try:
            self.fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            temporary = temporary_name()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.fd = os.open(temporary, flags, 0o600, dir_fd=directory)
            self._temporary = temporary

    def write(self, data: memoryview) -> None:
        """Append all of `data`."""
        while data:
            data = data[os.write(self.fd, data) :]

    def sync(self) -> None:
        """Write it to the disk. `finish` raises the error if that fails."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            self._error = error

    def finish(self) -> None:
        """Give it its name, instead of a file that has it, and close it."""
        try:
            if self._error is not None:
                raise self._error
            if not self._temporary:
                try:
                    self._link(self._part)
                    return
                except FileExistsError:
                    temporary = temporary_name()
                    self._link(temporary)
                    self._temporary = temporary
            os.rename(self._temporary, self._part, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._temporary = b""
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close it; if it has no name yet, it is gone."""
        os.close(self.fd)
        if self._temporary:
            remove(self._temporary, self._directory)

    def _link(self, part: bytes) -> None:
        # os.link follows the link only if src_dir_fd is given, which has no other effect here.
        os.link(f"/proc/self/fd/{self.fd}", part, src_dir_fd=self._directory, dst_dir_fd=self._directory)


class Step:
    """Something to do after the files before it have their names, even if these failed. Then `fd` is closed."""

    __slots__ = ("_fd", "_work", "name")

    def __init__(self, name: bytes, work: Callable[[], object], fd: int) -> None:
        self.name = name
        self._work = work
        self._fd = fd

    def finish(self) -> None:
        """Do it."""
        try:
            self._work()
        finally:
            os.close(self._fd)

    abandon = finish


class Batch:
    """Files that are complete but have no names yet, and what is to be done after they have them, in order.

    Args:
        attempt: called with a name from the root of the tree, and a function that may raise OSError for it.
        sync: called with complete files, to write them to the disk.
        steps_max: the most files and steps that wait, each with a descriptor.
    """

    def __init__(
        self,
        attempt: Callable[[bytes, Callable[[], object]], object],
        sync: Callable[[list[NewFile]], None],
        steps_max: int,
    ) -> None:
        self._attempt = attempt
        self._sync = sync
        self._steps_max = steps_max
        self._steps: list[NewFile | Step] = []
        self._names: set[bytes] = set()
        self._size = 0

    def __len__(self) -> int:
        return len(self._steps)

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def add(self, file: NewFile, size: int) -> None:
        """Add a file of `size` bytes that is complete."""
        self._size += size
        self._append(file)

    def then(self, name: bytes, work: Callable[[], object], fd: int) -> None:
        """Do `work` when the files so far have their names, and close `fd`."""
        step = Step(name, work, fd)
        if self._steps:
            self._append(step)
        else:
            self._attempt(name, step.finish)

    def _append(self, step: NewFile | Step) -> None:
        self._steps.append(step)
        self._names.add(step.name)
        if len(self._steps) >= self._steps_max or self._size >= _SIZE_MAX:
            self.commit()

    def commit(self) -> None:
        """Write all files to the disk, and do all steps."""
        try:
            self._sync([step for step in self._steps if isinstance(step, NewFile)])
            while self._steps:
                step = self._steps.pop(0)
                self._attempt(step.name, step.finish)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Drop the files."""
        steps, self._steps = self._steps, []
        self._names.clear()
        self._size = 0
        for step in steps:
            try:
                step.abandon()
            except OSError:
                pass


def sync_each(files: list[NewFile]) -> None:
    """Write files to the disk, several at a time: the filesystem commits its journal for all that are waiting."""
    files = list(files)

    def work() -> None:
        while True:
            try:
                file = files.pop()
            except IndexError:
                return
            file.sync()

    def work_in_thread(done: Callable[[], None]) -> None:
        try:
            work()
        finally:
            done()

    running = []
    for _ in range(min(_THREADS, len(files)) - 1):
        lock = allocate_lock()
        lock.acquire()
        try:
            start_new_thread(work_in_thread, (lock.release,))
        except RuntimeError:
            # There are too many threads.
            break
        running.append(lock)
    work()
    for lock in running:
        lock.acquire()


def temporary_name() -> bytes:
    """Return a new hidden name, short enough for every filesystem, whatever its encoding."""
    return b".%s%s" % (os.urandom(8).hex().encode(), _SUFFIX)


def remove(name: bytes, directory: int) -> None:
    """Remove a file if it exists and can be removed."""
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass
