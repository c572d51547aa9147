"""The commands that freeze and thaw filesystems."""

from __future__ import annotations

from phoenix_ga.agent.operations.freeze.hooks import HookError
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.context import Context


def guest_fsfreeze_status(context: Context) -> str:
    """Return whether this agent has frozen filesystems."""
    return "frozen" if context.frozen else "thawed"


def guest_fsfreeze_freeze(context: Context, revoked: Callable[[], bool]) -> int:
    """Freeze every local filesystem; return their number. Raises OSError as `Freezer.freeze` does."""
    return _freeze(context, revoked, None)


def guest_fsfreeze_freeze_list(context: Context, revoked: Callable[[], bool], mountpoints: list[str] | None) -> int:
    """Freeze the filesystems at some mount points; return their number. Raises OSError as `Freezer.freeze` does."""
    return _freeze(context, revoked, mountpoints)


def guest_fsfreeze_thaw(context: Context) -> int:
    """Thaw what is frozen; return the number of filesystems. Raises OSError as `Freezer.thaw` does."""
    try:
        return context.freezer.thaw()
    except HookError as error:
        raise _as_qemu_says(error) from None


def _freeze(context: Context, revoked: Callable[[], bool], points: list[str] | None) -> int:
    try:
        return len(context.freezer.freeze(points, revoked=revoked))
    except HookError as error:
        raise _as_qemu_says(error) from None


def _as_qemu_says(error: HookError) -> CommandError:
    # Without the name of the hook, which is in the log.
    return CommandError(str(error.strerror), NO_CODE)
