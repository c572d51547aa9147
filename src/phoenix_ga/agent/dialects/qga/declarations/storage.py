"""Commands about disks and filesystems."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import INTEGER, STRING, GuestCommand, ListOf, Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final[tuple[GuestCommand, ...]] = (
    GuestCommand(
        "guest-fsfreeze-status",
        "freeze:guest_fsfreeze_status",
        "Return whether this agent has frozen filesystems.",
        governed_by=("get-freeze-status",),
        while_frozen=True,
        inline=True,
    ),
    GuestCommand(
        "guest-fsfreeze-freeze",
        "freeze:guest_fsfreeze_freeze",
        "Sync and freeze every local filesystem, and return how many.",
        governed_by=("fs-freeze",),
        changes=True,
        urgent=True,
        revocable=True,
    ),
    GuestCommand(
        "guest-fsfreeze-freeze-list",
        "freeze:guest_fsfreeze_freeze_list",
        "Sync and freeze the local filesystems at some mount points, or all, and return how many.",
        parameters=(Parameter("mountpoints", ListOf(STRING), optional=True),),
        governed_by=("fs-freeze",),
        changes=True,
        urgent=True,
        revocable=True,
    ),
    GuestCommand(
        "guest-fsfreeze-thaw",
        "freeze:guest_fsfreeze_thaw",
        "Thaw what is frozen, and return how many filesystems.",
        governed_by=("fs-unfreeze",),
        changes=True,
        while_frozen=True,
        urgent=True,
        revokes=True,
    ),
    GuestCommand(
        "guest-get-fsinfo",
        "storage:guest_get_fsinfo",
        "List the mounted filesystems that are on disks, with their sizes and those disks, the last mounted first.",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-get-disks",
        "storage:guest_get_disks",
        "List the disks, their partitions, and what is mapped onto them.",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-get-diskstats",
        "storage:guest_get_diskstats",
        "List the block devices with what the kernel counts for each.",
    ),
    GuestCommand(
        "guest-fstrim",
        "storage:guest_fstrim",
        "Discard the unused blocks of the mounted filesystems.",
        parameters=(Parameter("minimum", INTEGER, optional=True),),
        changes=True,
    ),
)
