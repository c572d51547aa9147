"""qemu-ga's own mark of a freeze: a file that exists while filesystems are frozen."""

from __future__ import annotations

import os


class Marker:
    """The marker file at `path`; with an empty path, there is none. Methods return a line for the log, or ""."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return bool(self.path) and os.path.exists(self.path)

    def create(self) -> str:
        if self.path:
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                return f"cannot create {self.path}: {error.strerror}"
        return ""

    def remove(self) -> str:
        if self.path:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                return f"cannot remove {self.path}: {error.strerror}"
        return ""
