"""The base class of conditions."""

from __future__ import annotations

from errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Fact = TypeVar("Fact")

_SHOWN_MAX = 100


class Facts:
    """What the kernel says, asked once for all conditions that are looked at together."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def get(self, ask: Callable[[], Fact]) -> Fact:
        """Return what `ask` returns."""
        if ask not in self._known:
            self._known[ask] = ask()
        found: Fact = self._known[ask]
        return found


class Condition:
    """Something that a client waits for.

    Attributes:
        sources: Which shared sources tell that it may have become true: `routes`, `mounts`, `paths`, `systemd`.
        period: Seconds after which it is looked at in any case; 0: the kernel tells.
    """

    sources: tuple[str, ...] = ()
    period = 0.0

    def concerns(self, source: str, items: list[Any]) -> bool:
        """Return whether to check the condition because of what one of its sources has read."""
        return True

    def check(self, facts: Facts) -> str | None:
        """Return what was found, or None. May block."""
        raise NotImplementedError


def wrong(text: str, why: str) -> OSError:
    """Return the error for a condition that cannot be understood."""
    return OSError(EINVAL, f"condition {text[:_SHOWN_MAX]!r}: {why}")
