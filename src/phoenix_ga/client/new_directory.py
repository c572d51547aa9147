"""Creating the directory that a tree is copied to."""

from __future__ import annotations

import os
from errno import ENOTDIR
from types import TracebackType
from typing import Final

_MODE: Final = 0o755


class NewDirectory:
    """The directory at `path`, created with its parents if needed.

    As a context manager: if the body fails while the directory is empty, what was created is removed.

    Raises:
        OSError: ENOTDIR if something else is there.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._made: list[bytes] = []
        try:
            self._make(path.rstrip(b"/") or b"/")
        except OSError:
            self._unmake()
            raise

    @property
    def is_new(self) -> bool:
        """Whether it was created."""
        return bool(self._made)

    def __enter__(self) -> NewDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._unmake()

    def _make(self, path: bytes) -> None:
        if os.path.isdir(path):
            return
        missing = [path]
        while (parent := os.path.dirname(missing[-1])) and not os.path.isdir(parent):
            missing.append(parent)
        for directory in reversed(missing):
            try:
                os.mkdir(directory, _MODE)
            except FileExistsError:
                raise OSError(ENOTDIR, os.strerror(ENOTDIR), directory) from None
            self._made.append(directory)

    def _unmake(self) -> None:
        for directory in reversed(self._made):
            try:
                os.rmdir(directory)
            except OSError:
                return
