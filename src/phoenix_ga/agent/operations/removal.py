"""Removing files and directories."""

from __future__ import annotations

import os
import stat
from errno import EBUSY

from phoenix_ga.agent.operations.files import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str, recursive: bool) -> None:
    """Remove a file, a symbolic link or an empty directory.

    Args:
        recursive: Remove a directory with its contents. Symbolic links are not followed, even if somebody
            exchanges directories for links meanwhile.

    Raises:
        OSError: ENOTEMPTY if a directory is not empty; EBUSY for the root directory or a mount point. With
            `recursive`, what was removed before the error stays removed.
    """
    name = encode_path(path)
    status = os.lstat(name)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name)
        return
    if os.path.samestat(status, os.lstat("/")):
        raise OSError(EBUSY, "the root directory cannot be removed", path)
    if recursive:
        fd = os.open(name, _DIRECTORY)
        try:
            _empty(fd)
        finally:
            os.close(fd)
    os.rmdir(name)


def _empty(fd: int) -> None:
    """Remove the entries of an open directory."""
    # A list: scandir may skip entries while others are removed.
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            try:
                _empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)
