"""Finding the filesystems to freeze or thaw, and opening a mount point of each.

Nothing is frozen or thawed by path: after this, the open mount points are all that is needed.
"""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, local_filesystems, mount_identifier
from phoenix_ga.agent.operations.freeze.order import freeze_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Final

    from phoenix_ga.agent.linux.block_devices import Topology
    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.linux.mounts import Mount
    from phoenix_ga.agent.operations.freeze.state import FreezeState

# Why a filesystem is skipped.
FUSE: Final = "fuse"
READ_ONLY: Final = "read-only"
UNSUPPORTED: Final = "unsupported"
FOREIGN: Final = "foreign"
# The same for the log.
REASONS: Final = {
    UNSUPPORTED: "its filesystem does not support it",
    FOREIGN: "somebody else has frozen it, and must thaw it",
}

# How often mounts are read again if one vanished between reading and opening.
ATTEMPTS: Final = 3


class Selection:
    """Which filesystems to freeze: all, or those mounted at `points`. strict: each of `points` must exist."""

    __slots__ = ("points", "strict")

    def __init__(self, points: Collection[str] | None, strict: bool = False) -> None:
        self.points = points
        self.strict = strict


EVERYTHING: Final = Selection(None)


class Target:
    """A filesystem to freeze: its device number, its mount point, and a descriptor of the mount point."""

    __slots__ = ("descriptor", "device", "point")

    def __init__(self, device: int, point: str, descriptor: int) -> None:
        self.device = device
        self.point = point
        self.descriptor = descriptor


def close_targets(targets: Sequence[Target]) -> None:
    """Close the descriptors."""
    for target in targets:
        os.close(target.descriptor)


def open_targets(backend: FreezeBackend, state: FreezeState, selection: Selection) -> list[Target]:
    """Open every selected filesystem that can be frozen, in the order of freezing.

    Raises:
        OSError: as `Freezer.freeze` says.
    """
    for attempt in range(ATTEMPTS):
        targets: list[Target] = []
        try:
            _add_targets(targets, backend, state, selection)
            return targets
        except BaseException as error:
            close_targets(targets)
            # If a mount has vanished since it was read, read all again.
            if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def open_frozen(backend: FreezeBackend, devices: Sequence[int], note: Callable[[str], None]) -> list[Target]:
    """Open what an earlier agent froze. What cannot be opened is noted and skipped."""
    candidates = Candidates(backend, EVERYTHING)
    mounted = {each.device: each for each in candidates.local}
    targets = []
    for device in devices:
        filesystem = mounted.get(device)
        if filesystem is None:
            note(f"{os.major(device)}:{os.minor(device)} was frozen, and is no longer mounted")
            continue
        try:
            descriptor = backend.open(filesystem, candidates.tree)
        except OSError as error:
            note(f"{filesystem.point} may still be frozen: {error.strerror}")
            continue
        targets.append(Target(device, filesystem.point, descriptor))
    return targets


def freeze_target(backend: FreezeBackend, target: Target) -> str:
    """Freeze one filesystem; return why it was skipped, or an empty string. Raises OSError if it failed."""
    try:
        backend.freeze(target.descriptor)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return UNSUPPORTED
        if error.errno == errno.EBUSY:
            return FOREIGN
        raise OSError(error.errno, f"cannot freeze {target.point}: {error.strerror}") from error
    return ""


def _add_targets(targets: list[Target], backend: FreezeBackend, state: FreezeState, selection: Selection) -> None:
    candidates = Candidates(backend, selection)
    ordered = candidates.in_order()
    if ordered:
        _check_run_directory(state, candidates)
    for filesystem in ordered:
        try:
            descriptor = backend.open(filesystem, candidates.tree)
        except OSError as error:
            reason = f"cannot freeze {filesystem.point}: {error.strerror}; nothing was frozen"
            raise OSError(error.errno, reason) from error
        targets.append(Target(filesystem.device, filesystem.point, descriptor))


class Candidates:
    """The filesystems on block devices, and which of them are selected.

    Attributes:
        mounts: all mounts, those of other mount namespaces last.
        tree: those of this one.
        local: all filesystems on block devices.
        writable: those that can be frozen, unless the kernel refuses.
        wanted: those of them that are selected.
    """

    __slots__ = ("_backend", "local", "mounts", "topology", "tree", "wanted", "writable")

    def __init__(self, backend: FreezeBackend, selection: Selection) -> None:
        self._backend = backend
        self.tree = MountTree(backend.mounts())
        self.mounts = [*self.tree.mounts, *backend.mounts_elsewhere({mount.device for mount in self.tree.mounts})]
        self.topology = backend.topology()
        self.local = local_filesystems(self.mounts, self.topology)
        self.writable = [each for each in self.local if not unfit(each)]
        self.wanted = _selected(self.writable, selection, self.tree)

    def in_order(self) -> list[Filesystem]:
        """Return the selected filesystems in the order of freezing."""
        if not self.wanted:
            return []
        for filesystem in self.writable:
            filesystem.numbers |= self._backend.device_numbers(filesystem, self.tree)
        # All are sorted: two wanted ones may depend on each other through one that is not.
        return [each for each in freeze_order(self.writable, self.topology) if each in self.wanted]


def unfit(filesystem: Filesystem) -> str:
    """Return why a filesystem is not even tried, or an empty string."""
    if filesystem.type.startswith("fuse"):
        # The kernel cannot freeze it.
        return FUSE
    # It is not written to.
    return READ_ONLY if filesystem.read_only else ""


def _check_run_directory(state: FreezeState, candidates: Candidates) -> None:
    """Raise OSError (EINVAL) if the run directory is on one of the wanted filesystems, even through others."""
    descriptor = state.open()
    identifier = mount_identifier(descriptor)
    number = os.fstat(descriptor).st_dev
    for mount in candidates.tree.mounts:
        if mount.identifier == identifier:
            number = _upper_device(mount) or mount.device
    for filesystem in _beneath(number, candidates.writable, candidates.topology):
        if filesystem in candidates.wanted:
            raise OSError(
                errno.EINVAL,
                f"the run directory {state.directory} would be frozen too, with {filesystem.point}: "
                "it must be on a tmpfs; nothing was frozen",
            )


def _upper_device(mount: Mount) -> int:
    """Return the st_dev of the directory that an overlay writes to; 0 if it is none, or cannot be found."""
    try:
        return os.stat(mount.upper).st_dev if mount.upper else 0
    except OSError:
        return 0


def _beneath(number: int, filesystems: Sequence[Filesystem], topology: Topology) -> Iterator[Filesystem]:
    """Yield the filesystem whose files have this st_dev, and those that hold the loop files that it is on."""
    found: list[Filesystem] = []
    pending = [number]
    while pending:
        number = pending.pop()
        for filesystem in filesystems:
            if number in filesystem.numbers and filesystem not in found:
                found.append(filesystem)
                yield filesystem
                devices = (topology.devices.get(block) for block in topology.beneath(filesystem.blocks))
                pending += [device.backing_device for device in devices if device is not None and device.backing_file]


def _selected(filesystems: list[Filesystem], selection: Selection, tree: MountTree) -> list[Filesystem]:
    """Return the filesystems that are selected.

    If several are mounted at one path, that is the one on top. What is not in `filesystems`, such as a user's FUSE
    mount, does not count.
    """
    points = selection.points
    if points is None:
        return filesystems
    on_top: dict[str, Mount] = {}
    # A path in another mount namespace is another path.
    local = {mount.identifier for each in filesystems if not each.process for mount in each.mounts}
    for mount in tree.mounts:
        if mount.identifier in local and mount.point in points:
            rival = on_top.get(mount.point)
            if rival is None or tree.is_reachable(mount) or not tree.is_reachable(rival):
                on_top[mount.point] = mount
    missing = [point for point in points if point not in on_top]
    if missing and selection.strict:
        raise OSError(
            errno.EINVAL,
            f"{missing[0]} is not the mount point of a filesystem that can be frozen; nothing was frozen",
        )
    wanted = {mount.identifier for mount in on_top.values()}
    return [each for each in filesystems if any(mount.identifier in wanted for mount in each.mounts)]
