"""The commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def fs_freeze(context: Context, timeout: int) -> bool:
    """Freeze every local filesystem. Raises OSError as `Freezer.freeze` does."""
    context.freezer.freeze(time_limit=None if timeout < 0 else timeout)
    return True


def fs_unfreeze(context: Context) -> bool:
    """Thaw what is frozen. Raises OSError as `Freezer.thaw` does."""
    context.freezer.thaw()
    return True


def get_freeze_status(context: Context, details: bool) -> bool | dict[str, Any]:
    """Tell whether filesystems are frozen by this agent."""
    if not details:
        return context.frozen
    remaining = context.freeze_remaining
    return {
        "frozen": context.frozen,
        "remaining": -1 if remaining is None else int(remaining),
        "ended": context.freeze_ended,
    }
