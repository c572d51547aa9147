"""Commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.context import Context

_NO_FREEZE: Final = {"ended": "", "generation": "", "since": 0, "until": 0, "blocked": 0, "stage": ""}


def fs_freeze(
    context: Context, revoked: Callable[[], bool], timeout: int, mountpoints: list[str], details: bool
) -> bool | dict[str, Any]:
    limit = None if timeout < 0 else timeout
    record = context.freezer.freeze_recorded(mountpoints or None, limit, revoked, strict=True)
    if not details:
        return True
    skipped = [{"mountpoint": point, "reason": reason} for point, reason in record.skipped]
    return {"generation": record.generation, "filesystems": record.points, "skipped": skipped}


def fs_freeze_plan(context: Context, mountpoints: list[str]) -> dict[str, Any]:
    return context.freezer.plan(mountpoints or None)


def fs_unfreeze(context: Context, generation: str, request: str) -> bool:
    # The scheduler has called off the request.
    if not request:
        context.freezer.thaw(generation)
    return True


def get_freeze_status(context: Context, details: bool) -> bool | dict[str, Any]:
    if not details:
        return context.frozen
    remaining = context.freeze_remaining
    record = context.freeze_record
    return {
        "frozen": context.frozen,
        "remaining": -1 if remaining is None else int(remaining),
        **(_NO_FREEZE if record is None else record.as_object()),
    }
