"""What one user may take of the hub, over all guests, so that enough is left for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

#: Connections of a user, to guests and to the control socket.
CONNECTIONS_MAX: Final = 4096
#: Bytes of requests that have not arrived completely, or were not answered.
HELD_MAX: Final = 128 * 1024 * 1024


class Held(Protocol):
    """A connection."""

    @property
    def held(self) -> int:
        """The number of bytes that the hub keeps of it."""


class Quotas:
    """The connections of all users, and what is kept for them."""

    def __init__(self, connections_max: int = CONNECTIONS_MAX, held_max: int = HELD_MAX) -> None:
        self._connections_max = connections_max
        self._held_max = held_max
        self._connections: dict[int, dict[Held, int]] = {}
        self._totals: dict[int, int] = {}

    def admit(self, uid: int, connection: Held) -> Callable[[], None] | None:
        """Note a connection of a user; return what ends it, or None if the user has too many."""
        connections = self._connections.setdefault(uid, {})
        if len(connections) >= self._connections_max:
            return None
        connections[connection] = 0

        def leave() -> None:
            self._totals[uid] = self._totals.get(uid, 0) - connections.pop(connection, 0)
            if not connections:
                self._connections.pop(uid, None)
                self._totals.pop(uid, None)

        return leave

    def allows(self, uid: int, connection: Held) -> bool:
        """Return whether what is kept of a connection, which may have grown, is within its user's bounds."""
        connections = self._connections[uid]
        held = connection.held
        total = self._totals[uid] = self._totals.get(uid, 0) + held - connections[connection]
        connections[connection] = held
        if total <= self._held_max:
            return True
        # Those of others may have become less meanwhile.
        for each in connections:
            connections[each] = each.held
        self._totals[uid] = sum(connections.values())
        return self._totals[uid] <= self._held_max
