"""The commands that freeze and thaw filesystems."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def guest_fsfreeze_status(context: Context) -> str:
    """Tell whether filesystems are frozen by this agent."""
    return "frozen" if context.frozen else "thawed"


def guest_fsfreeze_freeze(context: Context) -> int:
    """Freeze every local filesystem; return how many. Raises OSError as `Freezer.freeze` does."""
    return len(context.freezer.freeze())


def guest_fsfreeze_freeze_list(context: Context, mountpoints: list[str] | None) -> int:
    """Freeze the filesystems at some mount points; return how many. Raises OSError as `Freezer.freeze` does."""
    return len(context.freezer.freeze(mountpoints))


def guest_fsfreeze_thaw(context: Context) -> int:
    """Thaw what is frozen; return how many filesystems. Raises OSError as `Freezer.thaw` does."""
    return context.freezer.thaw()
