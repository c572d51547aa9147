"""Which commands may run: the frozen state first, then the configuration."""

from __future__ import annotations

from errno import EBUSY, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from phoenix_ga.wire.declaration import Command

_ALWAYS: Final = frozenset(("sync", "get-session", "guest-sync", "guest-sync-delimited"))


class NotPermittedError(OSError):
    """The policy forbids a command (EPERM), or it cannot run while filesystems are frozen (EBUSY)."""


class Policy:
    """Which commands may run. A frozen guest can always be thawed.

    Args:
        allow: Patterns of command names, with the wildcards of fnmatch(3); if given, all others are refused.
        block: Patterns of names that are refused, allowed or not.
        read_only: Refuse every command that changes the guest.

    Attributes:
        restricts: Whether it can refuse anything.
    """

    __slots__ = ("allow", "block", "read_only", "restricts")

    def __init__(self, allow: tuple[str, ...] = (), block: tuple[str, ...] = (), read_only: bool = False) -> None:
        self.allow = allow
        self.block = block
        self.read_only = read_only
        self.restricts = bool(allow or block or read_only)
        if allow or block:
            # Now, because the loop must not import. Agents without lists do not need `re`.
            import fnmatch  # noqa: F401

    def permits(self, command: Command) -> bool:
        """Return whether the command may run, at least with arguments that do not change the guest."""
        # Without these, a client could not recognize its own answers.
        if command.name in _ALWAYS:
            return True
        if self.block or self.allow:
            names = command.policy_names
            if _matches(names, self.block) or (self.allow and not _matches(names, self.allow)):
                return False
        return not (self.read_only and command.changes is True)

    def check(self, command: Command, bound: Mapping[str, Any], frozen: bool) -> None:
        """Raise NotPermittedError if the call may not run."""
        if frozen:
            if not command.while_frozen:
                raise NotPermittedError(EBUSY, "all filesystems are frozen; fs-unfreeze thaws them")
            if command.urgent:
                return
        if not self.permits(command):
            raise NotPermittedError(EPERM, f"command {command.name} is not allowed by the policy of this guest")
        if self.read_only and command.changes_guest(bound):
            raise NotPermittedError(EPERM, f"{command.name} would change the guest, whose policy is read-only")


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return False
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
