"""Freezing one filesystem by the ioctls of linux/fs.h, and finding the filesystems."""

from __future__ import annotations

import fcntl
import os

from phoenix_ga.agent.linux.block_devices import Topology, loop_status, read_topology
from phoenix_ga.agent.linux.mount_namespaces import mounts_elsewhere
from phoenix_ga.agent.linux.mounts import Filesystem, Mount, MountTree, read_mounts
from phoenix_ga.agent.linux.open_filesystem import open_filesystem

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

    def mounts_elsewhere(self, known: set[int]) -> list[Mount]:
        """Read the mounts of other mount namespaces, except of devices that are `known`. Raises OSError."""
        return mounts_elsewhere(known)

    def topology(self) -> Topology:
        """Read the block devices, with the backing files of loop devices. Raises OSError."""
        return read_topology(loop_status=loop_status)

    def open(self, filesystem: Filesystem, tree: MountTree) -> int:
        """Open a directory or file of the filesystem, and return the descriptor; see `open_filesystem`."""
        return open_filesystem(filesystem, tree)

    def device_numbers(self, filesystem: Filesystem, tree: MountTree) -> set[int]:
        """Return every visible st_dev of a filesystem: subvolumes of a btrfs have their own."""
        numbers = {filesystem.device}
        for mount in filesystem.mounts:
            if os.major(filesystem.device) == 0 and not mount.process and tree.is_reachable(mount):
                try:
                    numbers.add(os.stat(mount.path).st_dev)
                except OSError:
                    continue
        return numbers

    def sync(self, descriptor: int) -> None:
        """Write the dirty data of the filesystem of an open file to its disk. May hang with the disk."""
        try:
            from phoenix_ga.agent.linux.syncfs import syncfs
        except ImportError:
            # This Python has no ctypes.
            os.sync()
            return
        syncfs(descriptor)

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
