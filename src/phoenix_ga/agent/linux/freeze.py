"""Freezing one filesystem by the ioctls of linux/fs.h, and finding the filesystems."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from phoenix_ga.agent.linux.block_devices import Topology, loop_status, read_topology
from phoenix_ga.agent.linux.mounts import Filesystem, Mount, MountTree, mount_identifier, read_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int); see ioctl_fsfreeze in fs/ioctl.c.
FIFREEZE: Final = 0xC0045877
FITHAW: Final = 0xC0045878


class FreezeBackend:
    """What the freezer needs of the kernel. Tests replace it."""

    __slots__ = ()

    def mounts(self) -> list[Mount]:
        """Read the mounts of this process. Raises OSError."""
        return read_mounts()

    def topology(self) -> Topology:
        """Read the block devices, with the backing files of loop devices. Raises OSError."""
        return read_topology(loop_status=loop_status)

    def open(self, filesystem: Filesystem, tree: MountTree) -> int:
        """Open a mount point of the filesystem, and return the descriptor.

        Raises OSError; ENOENT if no path leads to the filesystem. Works while it is frozen.
        """
        identifiers = {mount.identifier for mount in filesystem.mounts}
        reachable = [mount for mount in filesystem.mounts if tree.is_reachable(mount)]
        failure = OSError(errno.ENOENT, "another mount hides it")
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
        raise failure

    def device_numbers(self, filesystem: Filesystem, tree: MountTree) -> set[int]:
        """Return every visible st_dev of a filesystem: subvolumes of a btrfs have their own."""
        numbers = {filesystem.device}
        for mount in filesystem.mounts:
            if os.major(filesystem.device) == 0 and tree.is_reachable(mount):
                try:
                    numbers.add(os.stat(mount.path).st_dev)
                except OSError:
                    continue
        return numbers

    def sync(self) -> None:
        """Write all dirty data to the disks. May hang with a network filesystem."""
        os.sync()

    def freeze(self, descriptor: int) -> None:
        """Freeze the filesystem of an open file, after writing its dirty data.

        Raises OSError: EOPNOTSUPP if the filesystem does not support it, EBUSY if it is frozen,
        EPERM without CAP_SYS_ADMIN.
        """
        _ioctl(descriptor, FIFREEZE)

    def thaw(self, descriptor: int) -> None:
        """Thaw the filesystem of an open file. Raises OSError: EINVAL if it is not frozen."""
        _ioctl(descriptor, FITHAW)


def _ioctl(descriptor: int, request: int) -> None:
    while True:
        try:
            fcntl.ioctl(descriptor, request, 0)
        except InterruptedError:
            continue
        return
