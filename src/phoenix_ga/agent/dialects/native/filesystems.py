"""Commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from phoenix_ga.agent.context import Context


def fs_freeze(context: Context, revoked: Callable[[], bool], timeout: int) -> bool:
    context.freezer.freeze(time_limit=None if timeout < 0 else timeout, revoked=revoked)
    return True


def fs_unfreeze(context: Context) -> bool:
    context.freezer.thaw()
    return True


def get_freeze_status(context: Context, details: bool) -> bool | dict[str, Any]:
    if not details:
        return context.frozen
    remaining = context.freeze_remaining
    return {
        "frozen": context.frozen,
        "remaining": -1 if remaining is None else int(remaining),
        "ended": context.freeze_ended,
    }
