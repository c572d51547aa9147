"""The order in which filesystems can be frozen without one waiting for another for ever."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from phoenix_ga.agent.linux.block_devices import Topology
    from phoenix_ga.agent.linux.mounts import Filesystem


def freeze_order(filesystems: Sequence[Filesystem], topology: Topology) -> list[Filesystem]:
    """Sort filesystems: one on a loop file comes before the one that holds the file.

    Freezing writes dirty data through the loop device into the file, so the filesystem that holds the file must not
    be frozen yet. Devices between (LVM, LUKS, RAID on a loop device) and nested loop files are followed.

    If the holder of a loop file is unknown (a filesystem that is mounted only in another namespace, an overlay, a
    btrfs subvolume that is not mounted), the filesystem on it "floats": it comes before all that do not float.
    Otherwise the latest mount comes first, because a filesystem's dependencies were mounted before it.
    """
    holders: dict[int, set[int]] = {}
    floating: set[int] = set()
    for filesystem in filesystems:
        held_by = holders[filesystem.device] = set()
        for number in topology.beneath(filesystem.blocks):
            block = topology.devices.get(number)
            if block is None or not block.backing_file:
                continue
            known = [other.device for other in filesystems if block.backing_device in other.numbers]
            held_by.update(known)
            if not known:
                floating.add(filesystem.device)
        held_by.discard(filesystem.device)
    # A filesystem on a file of a floating filesystem floats too.
    grown = True
    while grown:
        above = {device for device, held_by in holders.items() if held_by & floating} - floating
        floating |= above
        grown = bool(above)
    grounded = holders.keys() - floating
    for device in floating:
        holders[device] |= grounded

    order: list[Filesystem] = []
    waiting = sorted(filesystems, key=_position, reverse=True)
    while waiting:
        still_held = set().union(*(holders[filesystem.device] for filesystem in waiting))
        # The default is for a circle, which should not exist.
        following = next((each for each in waiting if each.device not in still_held), waiting[0])
        waiting.remove(following)
        order.append(following)
    return order


def _position(filesystem: Filesystem) -> int:
    return filesystem.position
