"""The commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def fs_freeze(context: Context) -> bool:
    """Freeze every local filesystem. Raises OSError as `Freezer.freeze` does."""
    context.freezer.freeze()
    return True


def fs_unfreeze(context: Context) -> bool:
    """Thaw what is frozen. Raises OSError as `Freezer.thaw` does."""
    context.freezer.thaw()
    return True


def get_freeze_status(context: Context) -> bool:
    """Tell whether filesystems are frozen by this agent."""
    return context.frozen
