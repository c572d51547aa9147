"""Commands that freeze and thaw filesystems."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument, Command, Example

_MOUNTPOINTS = Argument(
    "mountpoints",
    list,
    "Freeze only the filesystems that are mounted at these paths; empty: all.",
    default=[],
)

COMMANDS = (
    Command(
        "fs-freeze-plan",
        "Return what `fs-freeze` would freeze. Nothing is frozen, and no hook runs.",
        handler="filesystems:fs_freeze_plan",
        method="filesystems.plan",
        result="FreezePlan",
        arguments=(_MOUNTPOINTS,),
        returns="An object: `filesystems`, in the order of freezing: the `mountpoint`, the `type`, the `devices` "
        "that it is on, and the `process` in whose mount namespace it is mounted, 0 if it is mounted in the agent's; "
        "`skipped`: the `mountpoint` and `type` of what is not frozen, and the `reason`: `read-only`, `fuse`, "
        "`network`, `overlay` (its upper filesystem is frozen), or `unsupported`; and `dirty`, how many bytes in "
        "memory have not been written to the disks, of all filesystems.",
        errors=(("EINVAL", "one of `mountpoints` is not the mount point of a filesystem that can be frozen"),),
        examples=(
            Example(
                {},
                {
                    "filesystems": [{"mountpoint": "/", "type": "ext4", "devices": ["/dev/vda"], "process": 0}],
                    "skipped": [{"mountpoint": "/boot/efi", "type": "vfat", "reason": "unsupported"}],
                    "dirty": 1048576,
                },
                exact=False,
            ),
        ),
    ),
    Command(
        "fs-freeze",
        "Sync and freeze every local filesystem on a block device, device-mapper and loop devices included, each "
        "once. A filesystem in a loop file is frozen before the filesystem that holds the file. If one fails, those "
        "already frozen are thawed. Filesystems that cannot be frozen, or that another program froze, are skipped "
        "and logged. Until `fs-unfreeze`, only commands that cannot touch a filesystem are served. The guest's hooks "
        "run before the freeze and after the thaw.",
        handler="filesystems:fs_freeze",
        arguments=(
            Argument(
                "timeout",
                int,
                "Seconds until the agent thaws automatically; 0: never; -1: as configured.",
                default=-1,
                minimum=-1,
                maximum=31 * 24 * 3600,
                python="auto_thaw",
            ),
            _MOUNTPOINTS,
            Argument("details", bool, "Return an object instead of `true`.", default=False),
        ),
        returns="`true`. With `details`, an object: `generation`, a random number in hex that identifies this "
        "freeze; `filesystems`, the mount points of what was frozen, in that order; and `skipped`, objects with the "
        "`mountpoint` of each filesystem that was not frozen, and the `reason`: `unsupported`, or `foreign` if "
        "another program has frozen it. `generation` is empty if there was nothing to freeze.",
        errors=(
            ("EBUSY", "filesystems are already frozen"),
            ("ECHILD", "a hook failed, so nothing was frozen"),
            (
                "ETIMEDOUT",
                "a hook, opening a filesystem, or freezing one timed out, so nothing stays frozen",
            ),
            ("EPERM", "users other than root can modify a hook, so nothing was frozen"),
            ("ECANCELED", "`fs-unfreeze` cancelled the freeze"),
            ("ENOENT", "a filesystem that other mounts hide cannot be opened"),
            (
                "EINVAL",
                "the agent's `run-directory` would be frozen (put it on a tmpfs), or one of `mountpoints` is not the "
                "mount point of a filesystem that can be frozen",
            ),
        ),
        examples=(
            Example(
                {"details": True},
                {
                    "generation": "5f0c7d1b2a9e4c63",
                    "filesystems": ["/"],
                    "skipped": [{"mountpoint": "/boot/efi", "reason": "unsupported"}],
                },
                exact=False,
            ),
        ),
        changes=True,
        urgent=True,
        revocable=True,
    ),
    Command(
        "get-freeze-status",
        "Return whether the agent has frozen filesystems.",
        handler="filesystems:get_freeze_status",
        arguments=(Argument("details", bool, "Return an object instead of a boolean.", default=False),),
        returns="`true` if filesystems are frozen, else `false`. With `details`, an object: `frozen`; `remaining`, "
        "the seconds until the agent thaws automatically, -1 for never; `ended`, how the last freeze ended: "
        "`released` by `fs-unfreeze` with its generation, `thawed` by `fs-unfreeze` without it, or because the agent "
        "was stopped, `deadline` if the agent thawed automatically, `died` if the agent was killed and its watchdog "
        "or the next agent thawed, `broken` if another program had thawed some of it; `generation` of the last "
        "freeze; `since` and `until`, when everything was frozen and when the thaw began, in milliseconds since the "
        "epoch by the guest's clock, 0 if that has not happened; `blocked`, for how many milliseconds writers were "
        "blocked; and `stage`, what a freeze that is in progress does: `hooks`, `write-back`, or `freeze` with the "
        "mount point. `ended` is empty while frozen, or if there was no freeze.",
        examples=(
            Example({}, True),
            Example(
                {"details": True},
                {
                    "frozen": True,
                    "remaining": 599,
                    "ended": "",
                    "generation": "5f0c7d1b2a9e4c63",
                    "since": 1764280000000,
                    "until": 0,
                    "blocked": 1042,
                    "stage": "",
                },
                exact=False,
            ),
        ),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "fs-unfreeze",
        "Thaw what `fs-freeze` froze, in reverse order. It is not an error if nothing is frozen. A freeze in "
        "progress is cancelled. If some filesystems cannot be thawed, the others are; repeat the command. With a "
        "generation, success proves that this freeze held from the answer of `fs-freeze` until now.",
        handler="filesystems:fs_unfreeze",
        method="filesystems.thaw",
        result="None",
        arguments=(
            Argument(
                "generation",
                str,
                "Thaw only this freeze, and fail if it did not hold until now; cancel nothing. A repeated request "
                "succeeds if an earlier one did.",
                default="",
            ),
            Argument(
                "request",
                str,
                "Only call off the `fs-freeze` that this client has requested with this tag, if it is in progress; "
                "thaw nothing else.",
                default="",
            ),
        ),
        errors=(
            ("EBUSY", "a freeze is stuck in the kernel; what it had frozen is thawed"),
            ("ESTALE", "the freeze of this generation did not hold; if it was frozen, it is thawed"),
            ("ECHILD", "everything is thawed, but a hook failed"),
            ("ETIMEDOUT", "everything is thawed, but a hook timed out"),
        ),
        examples=(Example({}, True),),
        changes=True,
        while_frozen=True,
        urgent=True,
        revokes=True,
    ),
    Command(
        "storage-grow",
        "Grow a mounted filesystem, and what it is on, as far as its disk allows: after the disk was enlarged. "
        "Partitions (GPT and MBR), LUKS, LVM, ext2, ext3, ext4, xfs and btrfs are known. The guest's own programs do "
        "it, each of which gets 15 minutes. If anything keeps it from growing, nothing is changed.",
        operation="grow.grow:grow",
        method="filesystems.grow",
        result="GrowthPlan",
        arguments=(
            Argument("target", str, "A mount point; or a block device, of which the last filesystem grows."),
            Argument("dry_run", bool, "Only return the plan.", default=False),
            Argument(
                "passphrase",
                str,
                "Opens the LUKS device. It is needed if the kernel does not return its key, see `locked`.",
                default="",
            ),
        ),
        returns="An object: `steps`, the lowest layer first: the `layer` (`partition`, `luks`, `physical volume`, "
        "`logical volume` or `filesystem`), the `name` of the device or the mount point, the sizes `before` and "
        "`after` in bytes, the latter a forecast until the step is `done`, and the `commands` that do it; `notes`; "
        "`refused`, why it cannot be grown safely, so that nothing was changed; `failed`, what a program that failed "
        "has said, after which the other steps were not done; and `locked`, the devices whose passphrase is needed. "
        "Without steps and refusal, the filesystem uses all of its disk already.",
        errors=(
            ("ENOENT", "there is no such mount point or device, or a program is missing; the text names its package"),
            ("EBUSY", "another request grows something"),
        ),
        examples=(
            Example(
                {"target": "/", "dry_run": True},
                {
                    "steps": [
                        {
                            "layer": "filesystem",
                            "name": "/",
                            "before": 2147483648,
                            "after": 4294967296,
                            "commands": ["resize2fs /dev/vda"],
                            "done": False,
                        }
                    ],
                    "notes": [],
                    "refused": "",
                    "failed": "",
                    "locked": [],
                },
                exact=False,
            ),
        ),
        changes=True,
        full_access=True,
    ),
)
