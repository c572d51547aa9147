"""What the lists of qemu-ga permit."""

from __future__ import annotations

from phoenix_ga.agent.protocol.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.wire.declaration import Command


class QemuGaPolicy(Policy):
    """allow, block: names of commands. Where there is an allow list, all else is forbidden; block wins.

    Whoever wrote such a list thought of no other commands, so the Phoenix dialect is not served then.
    """

    __slots__ = ()

    def permits(self, command: Command) -> bool:
        if not (self.allow or self.block):
            return True
        if not command.name.startswith("guest-") or command.name in self.block:
            return False
        return not self.allow or command.name in self.allow
