"""Files with extended attributes of all kinds, for tests as root."""

from __future__ import annotations

import os
import struct
from pathlib import Path

# The user 1234 may read; see linux/posix_acl_xattr.h: tag, permissions and ID of each entry.
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, 2**32 - 1), (2, 4, 1234), (4, 4, 2**32 - 1), (0x10, 4, 2**32 - 1), (0x20, 0, 2**32 - 1))
)
# cap_net_raw=ep, in the form of version 2, see linux/capability.h.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)

#: Those that a user may set, and those that only root can.
OF_USERS = {
    "user.comment": b"line\nbreak\0\xff",
    "user.a=b %3D": b"",
    "system.posix_acl_access": ACCESS_LIST,
}
OF_ROOT = {"security.capability": CAPABILITY, "trusted.secret": b"t"}
DEFAULT_LIST = {"system.posix_acl_default": ACCESS_LIST}


def set_all(path: Path, *kinds: dict[str, bytes]) -> None:
    """Set attributes of a file."""
    for kind in kinds:
        for name, value in kind.items():
            os.setxattr(path, name, value)


def attributes(path: Path) -> dict[str, bytes]:
    """Return all attributes of a file but its label."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name != "security.selinux"}
