"""Files that clients read, write and seek, by handles that are unique across restarts of the agent.

They behave like files of C's stdio, but without a buffer: written data is passed to the kernel at once. Paths are
text as in `files`. All functions raise OSError with the errno of the failed system call.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EBADF, EMFILE

from phoenix_ga.agent.operations.files import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_WRITE_NEW: Final = os.O_CREAT | os.O_TRUNC
_APPEND: Final = os.O_CREAT | os.O_APPEND
_FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | _WRITE_NEW,
    "a": os.O_WRONLY | _APPEND,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | _WRITE_NEW,
    "a+": os.O_RDWR | _APPEND,
}
READ_MODES: Final = ("r", "rb")
WRITE_MODES: Final = ("w", "wb", "a", "ab", "r+", "rb+", "r+b", "w+", "wb+", "w+b", "a+", "ab+", "a+b")
# Regardless of the umask.
_NEW_FILE_MODE: Final = 0o666

_STATE_FILE: Final = "qga.state"
_FIRST_HANDLE: Final = 1000
_LAST_HANDLE: Final = 2**63 - 1


class StateError(OSError):
    """The number of the next handle cannot be stored, so no handle can be returned."""


class CountedHandles:
    """File descriptors by handle. May be used from any thread.

    The next handle is stored in the file qga.state in `directory`, so that the handles of an earlier agent
    never mean a file of this one.
    """

    def __init__(self, directory: str) -> None:
        self._path = encode_path(directory)
        self._lock = allocate_lock()
        self._descriptors: dict[int, int] = {}
        self._opening = 0
        self._next = self._read_state()

    @property
    def in_use(self) -> bool:
        """Whether files are open."""
        return bool(self._descriptors or self._opening)

    def add(self, open_it: Callable[[], int], limit: int) -> int:
        """Open a file by `open_it`, if fewer than `limit` are open; return its handle.

        Raises:
            OSError: EMFILE if there are too many, or as `open_it`.
            StateError: the next handle cannot be stored.
        """
        with self._lock:
            if len(self._descriptors) + self._opening >= limit:
                raise OSError(EMFILE, f"{limit} files are open, which is the limit; close some with guest-file-close")
            self._opening += 1
        try:
            descriptor = open_it()
        except BaseException:
            with self._lock:
                self._opening -= 1
            raise
        with self._lock:
            self._opening -= 1
            handle = self._next
            following = handle + 1 if handle < _LAST_HANDLE else 0
            try:
                self._write_state(following)
            except OSError as error:
                os.close(descriptor)
                raise StateError(error.errno, error.strerror, self._path) from None
            self._next = following
            self._descriptors[handle] = descriptor
        return handle

    def get(self, handle: int) -> int:
        """Return the file descriptor. Raises OSError (EBADF) if the handle is not open."""
        descriptor = self._descriptors.get(handle)
        if descriptor is None:
            raise OSError(EBADF, f"handle '{handle}' has not been found")
        return descriptor

    def remove(self, handle: int) -> int:
        """Forget the handle and return its file descriptor. Raises OSError (EBADF)."""
        descriptor = self.get(handle)
        del self._descriptors[handle]
        return descriptor

    def _read_state(self) -> int:
        try:
            with open(os.path.join(self._path, _STATE_FILE.encode()), "rb") as file:
                lines = file.read(4096).splitlines()
        except OSError:
            return _FIRST_HANDLE
        for line in lines:
            name, _, value = line.partition(b"=")
            if name.strip() == b"fd_counter" and value.strip().isdigit() and len(value) < 20:
                return min(int(value), _LAST_HANDLE)
        return _FIRST_HANDLE

    def _write_state(self, following: int) -> None:
        name = os.path.join(self._path, _STATE_FILE.encode())
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(name + b".new", flags, 0o600)
        except FileNotFoundError:
            os.mkdir(self._path, 0o700)
            file = os.open(name + b".new", flags, 0o600)
        try:
            os.write(file, b"[global]\nfd_counter=%d\n" % following)
        finally:
            os.close(file)
        os.rename(name + b".new", name)


def open_file(path: str, mode: str) -> int:
    """Open a file as fopen(3) does, without waiting for the peer of a FIFO or a device.

    A new file gets the permissions 0666.

    Args:
        mode: one of READ_MODES and WRITE_MODES.
    """
    name = encode_path(path)
    flags = _FLAGS[mode.replace("b", "")] | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(name, flags & ~os.O_CREAT)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    descriptor = os.open(name, flags | os.O_EXCL, _NEW_FILE_MODE)
    try:
        os.fchmod(descriptor, _NEW_FILE_MODE)
    except OSError:
        os.close(descriptor)
        os.unlink(name)
        raise
    return descriptor


def read(descriptor: int, count: int) -> tuple[bytes, bool]:
    """Return up to `count` bytes, and whether the end of the file was reached.

    Fewer are returned at the end, and if a FIFO or a device has no more at the moment.

    Raises:
        OSError: if nothing could be read; EAGAIN if nothing is available.
    """
    if not count:
        return b"", False
    data = os.read(descriptor, count)
    ended = not data
    while not ended and len(data) < count:
        try:
            more = os.read(descriptor, count - len(data))
        except OSError:
            # What was read must not be lost; the next read reports the error.
            break
        ended = not more
        data += more
    return data, ended


def write(descriptor: int, data: memoryview) -> int:
    """Write `data`; return the size written, which is smaller if a FIFO or a device takes no more at the moment.

    Raises:
        OSError: EAGAIN if it takes nothing.
    """
    written = 0
    while written < len(data):
        try:
            written += os.write(descriptor, data[written:])
        except BlockingIOError:
            if not written:
                raise
            break
    return written


def seek(descriptor: int, offset: int, whence: int) -> int:
    """Move as lseek(2) does; return the new position. whence: 0: begin, 1: current position, 2: end."""
    return os.lseek(descriptor, offset, whence)


def close(descriptor: int) -> None:
    """Close a file."""
    os.close(descriptor)
