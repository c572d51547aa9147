"""How large a filesystem is, in contrast to what statfs(2) says of its free space."""

from __future__ import annotations

import os
from errno import ENODEV
from fcntl import ioctl
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# fs/ext4/ext4.h, struct ext4_super_block: the number of blocks in two halves, and the size of a block.
_EXT_SUPERBLOCK: Final = 1024
_EXT_BLOCKS: Final = Struct("<I")
_EXT_BLOCKS_AT, _EXT_SIZE_AT, _EXT_FEATURES_AT, _EXT_HIGH_AT = 4, 24, 96, 336
_EXT_64BIT: Final = 0x80
# fs/xfs/libxfs/xfs_fs.h, XFS_IOC_FSGEOMETRY_V1: the size of a block is the first member.
_XFS_GEOMETRY: Final = 0x80705864
_XFS_SIZE: Final = 112
_XFS_BLOCK_SIZE: Final = Struct("I")
_XFS_BLOCKS: Final = Struct("Q")
_XFS_BLOCKS_AT: Final = 32
# linux/btrfs.h, struct btrfs_ioctl_dev_info_args: the ID, a UUID, used and all bytes; far behind, the path.
_BTRFS_DEVICE: Final = 0xD000941E
_BTRFS_SIZE: Final = 4096
_BTRFS_IDENTIFIER: Final = Struct("Q")
_BTRFS_TOTAL: Final = Struct("Q")
_BTRFS_TOTAL_AT: Final = 32
_BTRFS_PATH_AT: Final = 3072
_BTRFS_DEVICES_MAX: Final = 256


def ext_size(device: str) -> int:
    """Return the size of an ext2, ext3 or ext4 on a device, in bytes. Raises OSError."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, 1024, _EXT_SUPERBLOCK)
    finally:
        os.close(fd)

    def number(at: int) -> int:
        value: int = _EXT_BLOCKS.unpack_from(data, at)[0]
        return value

    blocks = number(_EXT_BLOCKS_AT)
    if number(_EXT_FEATURES_AT) & _EXT_64BIT:
        blocks |= number(_EXT_HIGH_AT) << 32
    return blocks * (1024 << number(_EXT_SIZE_AT))


def xfs_size(point: str) -> int:
    """Return the size of the XFS that is mounted at a path, in bytes. Raises OSError."""
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = ioctl(fd, _XFS_GEOMETRY, bytes(_XFS_SIZE))
    finally:
        os.close(fd)
    return int(_XFS_BLOCK_SIZE.unpack_from(data)[0] * _XFS_BLOCKS.unpack_from(data, _XFS_BLOCKS_AT)[0])


def btrfs_device(point: str, number: int) -> tuple[int, int]:
    """Return the ID of a device in the btrfs that is mounted at a path, and how much of it is used, in bytes.

    Raises:
        OSError: ENODEV if the device is no part of it.
    """
    found: list[tuple[int, int]] = []
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for identifier in range(1, _BTRFS_DEVICES_MAX):
            # Python copies only small buffers that are immutable.
            data = bytearray(_BTRFS_IDENTIFIER.pack(identifier).ljust(_BTRFS_SIZE, b"\0"))
            try:
                ioctl(fd, _BTRFS_DEVICE, data)
            except OSError as error:
                if error.errno == ENODEV:
                    continue
                raise
            answer = identifier, int(_BTRFS_TOTAL.unpack_from(data, _BTRFS_TOTAL_AT)[0])
            found.append(answer)
            try:
                if os.stat(bytes(data[_BTRFS_PATH_AT:]).partition(b"\0")[0]).st_rdev == number:
                    return answer
            except (OSError, ValueError):
                # A name that is gone, such as /dev/root.
                continue
    finally:
        os.close(fd)
    if len(found) == 1:
        return found[0]
    raise OSError(ENODEV, f"the btrfs at {point} does not tell which of its devices this is")
