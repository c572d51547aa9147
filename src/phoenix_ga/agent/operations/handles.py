"""The files that clients have open."""

from __future__ import annotations

from _thread import allocate_lock
from errno import EBADF, EMFILE
from os import urandom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final


class OpenFile:
    """An open file. path: as requested by the client. writable: opened for writing."""

    __slots__ = ("fd", "made_in", "path", "regular", "writable")

    def __init__(self, fd: int, path: str, writable: bool, regular: bool, made_in: bytes) -> None:
        self.fd = fd
        self.path = path
        self.writable = writable
        self.regular = regular
        # The directory that has a new entry, which is synced with the file.
        self.made_in = made_in


class Handles:
    """The files that clients have open, by handle. May be used from any thread.

    limit: maximum number of open files.
    last: the handle that was given last.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = allocate_lock()
        self._files: dict[int, OpenFile] = {}
        # Random, so that a handle of an earlier agent does not mean a file of this one.
        self.last = int.from_bytes(urandom(2), "big") << 14

    def add(self, open_it: Callable[[], OpenFile]) -> int:
        """Open a file by `open_it`, if the limit is not reached; return its handle.

        Raises OSError (EMFILE) if it is.
        """
        with self._lock:
            if len(self._files) >= self.limit:
                raise OSError(EMFILE, f"{self.limit} files are open, which is the limit; close some with file-close")
            self.last += 1
            handle = self.last
            # Reserves the slot. The lock is not held while the file is opened, which may block.
            self._files[handle] = _OPENING
        try:
            file = open_it()
        except BaseException:
            del self._files[handle]
            raise
        self._files[handle] = file
        return handle

    def get(self, handle: int) -> OpenFile:
        """Return the file. Raises OSError (EBADF) if the handle is not open."""
        file = self._files.get(handle, _OPENING)
        if file is _OPENING:
            raise OSError(EBADF, f"handle {handle} is not open")
        return file

    def remove(self, handle: int) -> OpenFile:
        """Remove the handle; return its file. Raises OSError (EBADF)."""
        file = self.get(handle)
        del self._files[handle]
        return file

    def __len__(self) -> int:
        return len(self._files)


_OPENING: Final = OpenFile(-1, "", False, False, b"")
