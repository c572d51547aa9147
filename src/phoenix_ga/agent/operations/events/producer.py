"""The base class of what makes events."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from phoenix_ga.agent.linux.source import Source

    # Takes an event's name, its data, and a key: an event replaces one of the same key that was not sent yet.
    Tell = Callable[[str, "dict[str, Any]", object], None]


class Producer:
    """Makes events of what a source reads.

    Attributes:
        names: The events that it makes.
        source: The descriptor that the loop watches.
        failed_devices: Disks whose filesystems take no more writes, which nothing else in the kernel tells.
        slow: `examine` must be called on a worker whenever the source was read.
    """

    names: tuple[str, ...] = ()
    slow = False

    def __init__(self, source: Source) -> None:
        self.source = source
        self.failed_devices: list[str] = []

    def take(self, items: list[Any], tell: Tell) -> None:
        """Tell events of what the source has read. On the loop."""

    def examine(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events that can only be found by asking the kernel. On a worker."""
        return []

    def device_failed(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the events of the failure of a disk, which another producer has found. On a worker."""
        return []

    def recover(self) -> None:
        """Learn again what is known, because the kernel has dropped messages. On a worker."""
