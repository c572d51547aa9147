"""Opening a mounted filesystem, for ioctls that take any of its files."""

from __future__ import annotations

import os
import stat

from phoenix_ga.agent.linux.hidden_mounts import open_hidden
from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, mount_identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.linux.mounts import Mount


def open_filesystem(filesystem: Filesystem, tree: MountTree) -> int:
    """Open a directory or regular file of a filesystem for reading, even if other mounts cover it.

    Works while it is frozen.

    Returns:
        The descriptor: of a mount point if possible.

    Raises:
        OSError: the text says what is in the way and what failed.
    """
    if filesystem.process:
        return open_hidden(filesystem.device, filesystem.blocks, filesystem.process)
    identifiers = {mount.identifier for mount in filesystem.mounts}
    reachable = [mount for mount in filesystem.mounts if tree.is_reachable(mount)]
    failure: OSError | None = None
    # The mount point of a bind mount may be a file. Prefer a directory.
    for flags in (os.O_DIRECTORY, os.O_NONBLOCK | os.O_NOCTTY):
        for mount in reachable:
            try:
                # Opening a device may have side effects.
                if not flags & os.O_DIRECTORY and not stat.S_ISREG(os.stat(mount.path).st_mode):
                    continue
                descriptor = os.open(mount.path, flags | os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                failure = error
                continue
            if mount_identifier(descriptor) in identifiers:
                return descriptor
            os.close(descriptor)
    try:
        return open_hidden(filesystem.device, filesystem.blocks)
    except OSError as error:
        if failure is not None:
            raise failure from error
        raise OSError(error.errno, f"{_obstacle(filesystem.mounts[0], tree)}: {error.strerror}") from error


def _obstacle(mount: Mount, tree: MountTree) -> str:
    covering = tree.covering(mount)
    if covering is None:
        return "its mount points are neither directories nor regular files"
    return f"a mount of type {covering.type} at {covering.point} hides it"
