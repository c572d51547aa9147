"""The command `storage-grow`: finds the plan, and carries it out."""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EBUSY, EINVAL, EIO, ENOENT

from phoenix_ga.agent.linux.block_devices import Topology, read_topology
from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, local_filesystems, read_mounts
from phoenix_ga.agent.operations.grow.partitions import rescan
from phoenix_ga.agent.operations.grow.plan import Plan, Refusal, check_passphrase
from phoenix_ga.agent.operations.grow.tools import find_tool, run_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.grow.plan import Step

# Two that change the same table would each keep half of it.
_lock: Final = allocate_lock()


def grow(target: str, dry_run: bool, passphrase: str) -> dict[str, Any]:
    """Grow a filesystem and what it is on as far as its disk allows.

    Args:
        target: A mount point, or a block device: the filesystem on it, or on its last partition.
        dry_run: Only find the plan.
        passphrase: Of a LUKS device, if its key is in the kernel's keyring.

    Raises:
        OSError: ENOENT, EINVAL, EBUSY, or EIO if a program failed; nothing or only the first steps were done.
    """
    if not _lock.acquire(False):
        raise OSError(EBUSY, "another request grows a filesystem")
    try:
        return _grow(target, dry_run, os.fsencode(passphrase))
    finally:
        _lock.release()


def _grow(target: str, dry_run: bool, passphrase: bytes) -> dict[str, Any]:
    _rescan_disks()
    topology = read_topology()
    tree = MountTree(read_mounts())
    plan = Plan(topology, passphrase)
    refused = failed = ""
    try:
        _find_steps(plan, target, topology, tree)
        for step in plan.steps:
            for argv, _ in step.commands:
                find_tool(argv[0])
        if plan.locked and not dry_run:
            if not passphrase:
                raise Refusal(f"the key of {plan.locked[0]} is not readable any more: its passphrase is needed")
            for device in plan.locked:
                check_passphrase(device, passphrase)
    except (Refusal, OSError) as error:
        if isinstance(error, OSError) and error.errno in (ENOENT, EINVAL) and not plan.steps and not plan.notes:
            raise
        refused = str(error) if isinstance(error, Refusal) else error.strerror or str(error)
    if not refused and not plan.steps:
        refused = "; ".join(plan.notes)
    if not refused and not dry_run:
        failed = _carry_out(plan.steps)
    return {
        "steps": [step.as_object() for step in plan.steps],
        "notes": [] if refused in plan.notes else plan.notes,
        "refused": refused,
        "failed": failed,
        "locked": plan.locked,
    }


def _rescan_disks() -> None:
    for device in read_topology().devices.values():
        if device.disk == device.number:
            rescan(device)


def _find_steps(plan: Plan, target: str, topology: Topology, tree: MountTree) -> None:
    """Add the steps for a mount point or a device. Raises Refusal, OSError."""
    filesystems = local_filesystems(tree.mounts, topology)
    for filesystem in filesystems:
        if any(mount.point == target for mount in filesystem.mounts):
            return plan.grow_filesystem(filesystem, tree)
    number = topology.resolve(target if target.startswith("/") else f"/dev/{target}")
    if not number:
        raise OSError(ENOENT, f"{target} is neither a mount point of a local filesystem nor a block device")
    found = _on_device(number, filesystems, topology)
    if len(found) == 1:
        return plan.grow_filesystem(found[0], tree)
    try:
        if plan.grow_volume_group(_last_partition(number, topology)):
            return None
    except FileNotFoundError:
        # Without LVM there is no volume group.
        pass
    if found:
        points = ", ".join(sorted(filesystem.point for filesystem in found))
        raise Refusal(f"several filesystems are on {target}: name one of {points}")
    raise Refusal(f"no mounted filesystem is on the end of {target}: mount it first, or name another")


def _on_device(number: int, filesystems: list[Filesystem], topology: Topology) -> list[Filesystem]:
    """Return the filesystems on a device; of a disk with partitions, those on the last one."""
    last = _last_partition(number, topology)
    return [each for each in filesystems if last in topology.beneath(each.blocks)]


def _last_partition(number: int, topology: Topology) -> int:
    """Return the number of the last partition of a disk; that of the device itself if it has none."""
    found = [each for each in topology.devices.values() if each.disk == number and each.number != number]
    starts = {}
    for each in found:
        with open(f"/sys/dev/block/{os.major(each.number)}:{os.minor(each.number)}/start", encoding="ascii") as file:
            starts[each.number] = int(file.read())
    return max(starts, key=starts.__getitem__) if starts else number


def _carry_out(steps: list[Step]) -> str:
    """Do the steps; return what failed, or an empty string."""
    for step in steps:
        try:
            for argv, given in step.commands:
                run_tool(argv, given)
            step.after = step.measure()
            if step.after <= step.before:
                raise OSError(EIO, f"the {step.layer} {step.name} has not grown")
        except OSError as error:
            return error.strerror or str(error)
        step.done = True
    return ""
