"""The order in which filesystems can be frozen without one waiting for another for ever."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from phoenix_ga.agent.linux.block_devices import Topology
    from phoenix_ga.agent.linux.mounts import Filesystem


def freeze_order(filesystems: Sequence[Filesystem], topology: Topology) -> list[Filesystem]:
    """Sort filesystems: one on a loop file comes before the one that holds the file.

    Freezing writes what is dirty, through the loop device into the file: the filesystem that holds
    the file must still take it. Devices between (LVM, LUKS, RAID on a loop device) are looked
    through, and loop files on filesystems on loop files followed.

    Where it is not known who holds a loop file (a filesystem mounted in another namespace only, an
    overlay, a btrfs subvolume that is not mounted), what is on it comes before every filesystem
    that is not on such a file. Otherwise the latest mount comes first, since what a filesystem
    depends on was mounted before it.
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
    # What is on a file of a floating filesystem floats with it.
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
        # The default is for a circle, which cannot be: better some order than none.
        following = next((each for each in waiting if each.device not in still_held), waiting[0])
        waiting.remove(following)
        order.append(following)
    return order


def _position(filesystem: Filesystem) -> int:
    return filesystem.position
