"""Commands that freeze and thaw filesystems."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument, Command, Example

COMMANDS = (
    Command(
        "fs-freeze",
        "Sync and freeze every local filesystem on a block device, device-mapper and loop devices included, each "
        "once. A filesystem in a loop file is frozen before the filesystem that holds the file. If one fails, those "
        "already frozen are thawed. Filesystems that cannot be frozen, or that another program froze, are skipped "
        "and logged. Until `fs-unfreeze`, only commands that cannot touch a filesystem are served. The guest's hooks "
        "run before the freeze and after the thaw.",
        handler="filesystems:fs_freeze",
        method="filesystems.freeze",
        result="None",
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
        ),
        errors=(
            ("EBUSY", "filesystems are already frozen"),
            ("ECHILD", "a hook failed, so nothing was frozen"),
            ("ETIMEDOUT", "a hook, or opening a filesystem, timed out, so nothing was frozen"),
            ("EPERM", "users other than root can modify a hook, so nothing was frozen"),
            ("ECANCELED", "`fs-unfreeze` cancelled the freeze"),
            ("ENOENT", "a filesystem that other mounts hide cannot be opened"),
            ("EINVAL", "the agent's `run-directory` would be frozen; put it on a tmpfs"),
        ),
        examples=(Example({}, True),),
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
        "the seconds until the agent thaws automatically, -1 for never; and `ended`, how the last freeze ended: "
        "`thawed` by `fs-unfreeze`, `deadline` if the agent thawed automatically, `died` if the agent was killed and "
        "its watchdog or the next agent thawed. `ended` is empty while frozen, or if there was no freeze.",
        examples=(
            Example({}, True),
            Example({"details": True}, {"frozen": True, "remaining": 599, "ended": ""}, exact=False),
        ),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "fs-unfreeze",
        "Thaw what `fs-freeze` froze, in reverse order. It is not an error if nothing is frozen. A freeze in "
        "progress is cancelled. If some filesystems cannot be thawed, the others are; repeat the command.",
        handler="filesystems:fs_unfreeze",
        method="filesystems.thaw",
        result="None",
        errors=(
            ("EBUSY", "a freeze is stuck in the kernel; what it had frozen is thawed"),
            ("ECHILD", "everything is thawed, but a hook failed"),
            ("ETIMEDOUT", "everything is thawed, but a hook timed out"),
        ),
        examples=(Example({}, True),),
        changes=True,
        while_frozen=True,
        urgent=True,
        revokes=True,
    ),
)
