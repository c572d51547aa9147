"""The policy of qemu-ga's lists."""

from __future__ import annotations

from phoenix_ga.agent.protocol.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.wire.declaration import Command


class QemuGaPolicy(Policy):
    """Permits the commands on the allow list, or all if it is empty, except those on the block list.

    With either list, the Phoenix dialect is refused: the author of the list did not know its commands.
    """

    __slots__ = ()

    def permits(self, command: Command) -> bool:
        if not (self.allow or self.block):
            return True
        if not command.name.startswith("guest-") or command.name in self.block:
            return False
        return not self.allow or command.name in self.allow
