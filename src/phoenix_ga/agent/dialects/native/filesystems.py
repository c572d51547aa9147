"""The commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def fs_freeze(context: Context) -> bool:
    """Freeze every local filesystem. Raises OSError as `Freezer.freeze` does."""
    # A log on a frozen disk would stop whoever writes to it.
    context.log.hold()
    try:
        context.freezer.freeze()
    finally:
        _release_log(context)
    return True


def fs_unfreeze(context: Context) -> bool:
    """Thaw what is frozen. Raises OSError as `Freezer.thaw` does."""
    try:
        context.freezer.thaw()
    finally:
        _release_log(context)
    return True


def get_freeze_status(context: Context) -> bool:
    """Tell whether filesystems are frozen by this agent."""
    return context.frozen


def _release_log(context: Context) -> None:
    if not context.frozen:
        context.log.release()
