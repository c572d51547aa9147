"""Which commands may run: the lists of the configuration, and the frozen state above all."""

from __future__ import annotations

from errno import EBUSY, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from phoenix_ga.wire.declaration import Command


_ALWAYS: Final = frozenset(("sync", "guest-sync", "guest-sync-delimited"))


class NotPermittedError(OSError):
    """A command that the policy forbids (EPERM), or that can't run while filesystems are frozen (EBUSY)."""


class Policy:
    """allow, block: patterns of command names, with the wildcards of fnmatch(3).

    Where there is an allow list, what is not on it is refused. Block wins over allow. read_only
    refuses whatever changes the guest. A frozen guest can always be thawed.
    """

    __slots__ = ("allow", "block", "read_only")

    def __init__(self, allow: tuple[str, ...] = (), block: tuple[str, ...] = (), read_only: bool = False) -> None:
        self.allow = allow
        self.block = block
        self.read_only = read_only

    def permits(self, command: Command) -> bool:
        """Tell whether the command may run, with arguments that don't change the guest at least."""
        # Without them, a client could not tell its own answers from those due to another.
        if command.name in _ALWAYS:
            return True
        if self.block or self.allow:
            names = command.policy_names
            if _matches(names, self.block) or (self.allow and not _matches(names, self.allow)):
                return False
        return not (self.read_only and command.changes is True)

    def check(self, command: Command, bound: Mapping[str, Any], frozen: bool) -> None:
        """Raise NotPermittedError where the call may not be made."""
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
    # Loads `re`, which an agent without lists does without.
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
