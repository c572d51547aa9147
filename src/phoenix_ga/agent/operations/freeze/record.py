"""What is known of the last freeze: which one it was, how long it held, and how it ended."""

from __future__ import annotations

import errno
import os
from time import gmtime, monotonic, strftime, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# How a freeze ended. RELEASED: by a thaw that named its generation, which proves that it held until then.
RELEASED: Final = "released"
# By a thaw that did not, or because the agent was stopped.
THAWED: Final = "thawed"
EXPIRED: Final = "deadline"
# The agent was killed, and its watchdog or the next agent thawed.
DIED: Final = "died"
# Another program had thawed some of it before.
BROKEN: Final = "broken"

_REASONS: Final = {
    THAWED: "somebody thawed, or the agent was stopped",
    EXPIRED: "its time limit was reached, so the agent thawed",
    DIED: "the agent was killed, so it was thawed",
}


class FreezeRecord:
    """One freeze.

    Attributes:
        generation: identifies it, among all freezes of all guests; empty if there was none.
        points: mount points of the filesystems that were frozen, in that order.
        since, until: when the last filesystem was frozen, and when the thaw began, in milliseconds since the epoch;
            0 if that has not happened.
        ended: how it ended; empty while it lasts.
        broken: the mount points that other programs had thawed.
        skipped: mount points of filesystems that were not frozen, each with the reason.
        stage: what is being done at the moment; empty if nothing is.
    """

    __slots__ = (
        "_blocked",
        "_blocked_since",
        "_ending",
        "broken",
        "ended",
        "generation",
        "points",
        "since",
        "skipped",
        "stage",
        "until",
    )

    def __init__(self) -> None:
        self.generation = ""
        self.points: list[str] = []
        self.since = 0
        self.until = 0
        self.ended = ""
        self.broken: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.stage = ""
        self._blocked = 0.0
        self._blocked_since = 0.0
        # Why the thaw began: it may have to be repeated for another reason, which changes nothing.
        self._ending = ""

    @property
    def blocked(self) -> int:
        """For how long writers were, or have been, blocked, in milliseconds."""
        blocked = monotonic() - self._blocked_since if self._blocked_since else self._blocked
        return int(blocked * 1000)

    def begin(self) -> int:
        """Note that the first filesystem is about to be frozen; return the time, in milliseconds since the epoch."""
        self.generation = os.urandom(8).hex()
        self._blocked_since = monotonic()
        return _now()

    def hold(self) -> None:
        """Note that all are frozen."""
        self.since = _now()
        self.stage = ""

    def begin_thaw(self, ending: str) -> None:
        """Note that the first filesystem is about to be thawed, and how the freeze ends by that."""
        self.until = self.until or _now()
        self._ending = self._ending or ending

    def end(self) -> None:
        """Note that everything is thawed."""
        if self._blocked_since:
            self._blocked = monotonic() - self._blocked_since
            self._blocked_since = 0.0
        self.ended = BROKEN if self.broken else self._ending

    def expire(self) -> None:
        """Note that the watchdog thawed at the deadline, whoever else began to."""
        self._ending = EXPIRED

    def recover(self, generation: str, since: int, until: int = 0) -> None:
        """Take over the freeze of an agent that died."""
        self.generation = generation
        self.since = since
        self.until = until or _now()
        self._ending = DIED

    def park(self) -> dict[str, Any]:
        """Return what `restore` needs after the agent was parked. Only while nothing is frozen."""
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, parked: dict[str, Any]) -> None:
        """Take over what was known before the agent was parked."""
        for name in self.__slots__:
            # An earlier version may have been parked.
            setattr(self, name, parked.get(name, getattr(self, name)))

    def check_held(self, generation: str) -> None:
        """Raise OSError (ESTALE) unless this is the freeze of a generation, and it held until it was released."""
        if generation != self.generation or self.ended != RELEASED:
            raise OSError(errno.ESTALE, f"the freeze did not hold: {self._reason(generation)}")

    def _reason(self, generation: str) -> str:
        if generation != self.generation:
            since = "; the agent has frozen again since" if self.generation else "; the guest may have been restarted"
            return f"the agent does not know of it{since}"
        if self.ended == BROKEN:
            return f"another program thawed {', '.join(self.broken)}"
        at = strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(self.until // 1000))
        return f"{_REASONS.get(self.ended, 'it ended')}, at {at}"

    def as_object(self) -> dict[str, Any]:
        """Return the members of the answer of get-freeze-status."""
        return {
            "ended": self.ended,
            "generation": self.generation,
            "since": self.since,
            "until": self.until,
            "blocked": self.blocked,
            "stage": self.stage,
        }


def _now() -> int:
    return int(time() * 1000)
