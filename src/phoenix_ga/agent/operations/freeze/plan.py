"""What a freeze would do, without doing it."""

from __future__ import annotations

from phoenix_ga.agent.operations.freeze.targets import FUSE, UNSUPPORTED, Candidates, unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.linux.mounts import Filesystem
    from phoenix_ga.agent.operations.freeze.targets import Selection

NETWORK: Final = "network"
OVERLAY: Final = "overlay"
_NETWORK_TYPES: Final = frozenset(("9p", "afs", "ceph", "cifs", "nfs", "nfs4", "smb3", "virtiofs"))
# Types without freeze_fs and freeze_super of struct super_operations (linux/fs.h): the kernel answers EOPNOTSUPP.
_UNSUPPORTED_TYPES: Final = frozenset(
    ("exfat", "hfs", "hfsplus", "iso9660", "minix", "msdos", "ntfs3", "udf", "ufs", "vfat", "zfs")
)


def freeze_plan(backend: FreezeBackend, selection: Selection) -> dict[str, Any]:
    """Return the answer of fs-freeze-plan. Raises OSError (EINVAL) if a mount point is wrong."""
    candidates = Candidates(backend, selection)
    skipped = [(each, unfit(each) or _unsupported(each)) for each in candidates.local]
    reasons = {each.device: (each.point, each.type, reason) for each, reason in skipped if reason}
    for mount in candidates.mounts:
        reason = _not_on_a_disk(mount.type)
        if reason:
            reasons.setdefault(mount.device, (mount.point, mount.type, reason))
    return {
        "filesystems": [
            {
                "mountpoint": each.point,
                "type": each.type,
                "devices": [_device(candidates, number) for number in each.blocks],
                "process": each.process,
            }
            for each in candidates.in_order()
            if each.device not in reasons
        ],
        "skipped": [
            {"mountpoint": point, "type": type, "reason": reason} for point, type, reason in reasons.values()
        ],
        "dirty": _dirty(),
    }


def _unsupported(filesystem: Filesystem) -> str:
    return UNSUPPORTED if filesystem.type in _UNSUPPORTED_TYPES else ""


def _not_on_a_disk(type: str) -> str:
    if type in _NETWORK_TYPES:
        return NETWORK
    if type == "zfs":
        return UNSUPPORTED
    if type.startswith("fuse") and type != "fusectl":
        return FUSE
    return OVERLAY if type == "overlay" else ""


def _device(candidates: Candidates, number: int) -> str:
    device = candidates.topology.devices.get(number)
    return device.path if device is not None else ""


def _dirty() -> int:
    """Return how many bytes in memory are not on the disks yet, see proc(5)."""
    total = 0
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            name, _, value = line.partition(b":")
            if name in (b"Dirty", b"Writeback"):
                total += int(value.split()[0]) * 1024
    return total
