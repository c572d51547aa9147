"""The mounts of this mount namespace, and the filesystems on block devices among them.

The source is /proc/self/mountinfo, see proc(5).
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from phoenix_ga.agent.linux.block_devices import Topology

# These are not on block devices, whatever their source in mountinfo is.
NOT_ON_BLOCK_DEVICES: Final = frozenset(
    ("9p", "afs", "ceph", "cifs", "nfs", "nfs4", "overlay", "ramfs", "smb3", "tmpfs", "virtiofs", "zfs")
)
_UPPER: Final = b"upperdir="


class Mount:
    """One mount: a place in the tree where a filesystem, or a part of it, is visible.

    identifier, parent: the mount's own number and that of the mount it is mounted on. device: the
    number of the superblock, as st_dev gives it (btrfs gives another st_dev to each subvolume, but
    one number here). root: which part of the filesystem is visible. point: where, as a str that holds
    bytes beyond UTF-8 as surrogates; path: the same in bytes, for system calls. read_only: the
    superblock takes no writes, whichever way it is mounted. upper: of an overlay, the directory that is written to,
    as it was called when the overlay was mounted; else empty. process: one in whose mount namespace it is; 0: it is
    in this process's.
    """

    __slots__ = (
        "device",
        "identifier",
        "parent",
        "path",
        "point",
        "process",
        "read_only",
        "root",
        "source",
        "type",
        "upper",
    )

    def __init__(
        self,
        identifier: int,
        parent: int,
        device: int,
        root: str,
        point: str,
        type: str,
        source: str,
        read_only: bool = False,
        upper: str = "",
    ) -> None:
        self.identifier = identifier
        self.parent = parent
        self.device = device
        self.root = root
        self.point = point
        self.path = point.encode("utf-8", "surrogateescape")
        self.type = type
        self.source = source
        self.read_only = read_only
        self.upper = upper
        self.process = 0


class MountTree:
    """All mounts, in the order of mountinfo: a mount comes after the one it is mounted on."""

    __slots__ = ("_by_identifier", "_children", "mounts")

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self.mounts = list(mounts)
        self._by_identifier = {mount.identifier: mount for mount in self.mounts}
        self._children: dict[int, list[Mount]] = {}
        for mount in self.mounts:
            # The root of all mounts is its own parent.
            if mount.parent != mount.identifier:
                self._children.setdefault(mount.parent, []).append(mount)

    def is_reachable(self, mount: Mount) -> bool:
        """Return whether the mount's path leads to it, and not to a mount on top of it.

        No path is walked, because the mount on top may be a network filesystem that hangs.
        """
        return self.covering(mount) is None

    def covering(self, mount: Mount) -> Mount | None:
        """Return a mount that keeps the mount's path from leading to it; None if there is none."""
        for child in self._children.get(mount.identifier, ()):
            if child.point == mount.point:
                return child
        step = mount
        while True:
            parent = self._by_identifier.get(step.parent)
            if parent is None or parent is step:
                return None
            later = False
            for sibling in self._children[parent.identifier]:
                if sibling is step:
                    later = True
                elif sibling.point == step.point:
                    if later:
                        return sibling
                elif step.point.startswith(sibling.point.rstrip("/") + "/"):
                    return sibling
            step = parent

    def remove(self, mount: Mount) -> None:
        """Remove a mount that was unmounted, with all that is mounted on it."""
        removed = [mount]
        for each in removed:
            removed += self._children.pop(each.identifier, ())
            del self._by_identifier[each.identifier]
        self._children[mount.parent].remove(mount)
        gone = {each.identifier for each in removed}
        self.mounts = [each for each in self.mounts if each.identifier not in gone]


class Filesystem:
    """One mounted superblock that is kept on block devices.

    device: its number in mountinfo. numbers: every st_dev that its files are known to have.
    blocks: numbers of the block devices that it is directly on (several for a btrfs of several
    devices, none if they are unknown). mounts: where it is mounted, the most
    representative one first. position: of its oldest mount among all mounts.
    """

    __slots__ = ("blocks", "device", "mounts", "numbers", "position", "read_only", "type")

    def __init__(self, mount: Mount, blocks: Iterable[int], position: int = 0) -> None:
        self.device = mount.device
        self.numbers = {mount.device}
        self.blocks = tuple(blocks)
        self.mounts = [mount]
        self.position = position
        self.read_only = mount.read_only
        self.type = mount.type

    @property
    def point(self) -> str:
        """The most representative mount point."""
        mount = self.mounts[0]
        return f"{mount.point} of process {mount.process}" if mount.process else mount.point

    @property
    def process(self) -> int:
        """A process in whose mount namespace it is mounted; 0: it is mounted in this process's."""
        return self.mounts[0].process


def read_mounts(root: str = "") -> list[Mount]:
    """Read the mounts of this process. `root`: prefix of /proc. Raises OSError."""
    with open(root + "/proc/self/mountinfo", "rb") as file:
        return parse_mounts(file.read())


def parse_mounts(content: bytes) -> list[Mount]:
    """Return the mounts in the content of a mountinfo file."""
    # Not splitlines(): a carriage return in a name is not escaped.
    return [_parse_mount(line) for line in content.split(b"\n") if line]


def mount_identifier(descriptor: int) -> int:
    """Return the number of the mount that an open file was reached by, see proc(5) fdinfo.

    Raises OSError; ENOENT if the kernel does not show it.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        for line in file:
            name, _, value = line.partition(b":")
            if name == b"mnt_id":
                return int(value)
    raise OSError(errno.ENOENT, "the kernel does not show the mount of an open file")


def local_filesystems(mounts: Iterable[Mount], topology: Topology) -> list[Filesystem]:
    """Return every filesystem on block devices once, however often it is mounted; the oldest first."""
    found: dict[int, Filesystem] = {}
    for position, mount in enumerate(mounts):
        filesystem = found.get(mount.device)
        if filesystem is not None:
            filesystem.mounts.append(mount)
            continue
        blocks = _block_devices(mount, topology)
        if blocks is not None:
            found[mount.device] = Filesystem(mount, blocks, position)
    for filesystem in found.values():
        filesystem.mounts.sort(key=telling)
    return list(found.values())


def telling(mount: Mount) -> tuple[bool, bool, int, str]:
    """Sort key of mounts: the one that represents its filesystem best comes first."""
    return (mount.point != "/", mount.root != "/", len(mount.point), mount.point)


def _block_devices(mount: Mount, topology: Topology) -> tuple[int, ...] | None:
    if os.major(mount.device) != 0:
        return (mount.device,)
    # An anonymous number: network and pseudo filesystems, but btrfs and bcachefs as well.
    if mount.type in NOT_ON_BLOCK_DEVICES or mount.type.startswith("fuse"):
        return None
    blocks: tuple[int, ...] = ()
    if mount.source.startswith("/dev/"):
        for source in mount.source.split(":"):
            number = topology.resolve(source)
            if number:
                blocks += topology.pool(number)
    # The source of a btrfs may be a name that is gone (/dev/root, a device that was removed).
    return blocks if blocks or mount.type == "btrfs" else None


def _parse_mount(line: bytes) -> Mount:
    fields = line.split(b" ")
    separator = fields.index(b"-", 6)
    kind, source, super_options = fields[separator + 1 : separator + 4]
    major, _, minor = fields[2].partition(b":")
    options = super_options.split(b",")
    upper = next((option[len(_UPPER) :] for option in options if option.startswith(_UPPER)), b"")
    return Mount(
        int(fields[0]),
        int(fields[1]),
        os.makedev(int(major), int(minor)),
        unescape(fields[3]),
        unescape(fields[4]),
        unescape(kind),
        unescape(source),
        # The options of the mount itself do not count: `mount -o bind,ro` leaves others writable.
        b"ro" in options,
        unescape(upper) if kind == b"overlay" else "",
    )


def unescape(field: bytes) -> str:
    r"""Decode a field of mountinfo: `\040` is a space, and so on."""
    first, *others = field.split(b"\\")
    decoded = [first]
    for part in others:
        try:
            decoded.append(bytes((int(part[:3], 8),)) + part[3:])
        except ValueError:
            decoded.append(b"\\" + part)
    return b"".join(decoded).decode("utf-8", "surrogateescape")


def escape(text: str) -> bytes:
    """Encode a name as in mountinfo: the inverse of `unescape`."""
    encoded = text.encode("utf-8", "surrogateescape")
    for byte in b"\\ \t\n":
        encoded = encoded.replace(bytes((byte,)), b"\\%03o" % byte)
    return encoded
