"""Waiting for conditions: which are fulfilled, and which descriptors tell that others may be."""

from __future__ import annotations

from errno import EAGAIN

from phoenix_ga.agent.linux.route_changes import RouteChanges
from phoenix_ga.agent.linux.source import PolledFile
from phoenix_ga.agent.linux.systemd_bus import SystemdSignals
from phoenix_ga.agent.operations.waiting.condition import Condition, Facts, wrong
from phoenix_ga.agent.operations.waiting.network import AddressCondition, PortCondition, RouteCondition
from phoenix_ga.agent.operations.waiting.paths import PathChanges, PathCondition
from phoenix_ga.agent.operations.waiting.system import (
    BootCondition,
    LoadCondition,
    PressureCondition,
    ShutdownCondition,
    SystemdCondition,
    UnitCondition,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.linux.source import Source

_KINDS: Final[dict[str, Callable[[str, str], Condition]]] = {
    "address": AddressCondition,
    "boot-complete": BootCondition,
    "load": LoadCondition,
    "path": PathCondition,
    "port": PortCondition,
    "pressure": PressureCondition,
    "route": RouteCondition,
    "shutdown": ShutdownCondition,
    "unit": UnitCondition,
}
# What several conditions share.
_SOURCES: Final[dict[str, Callable[[], Source]]] = {
    "mounts": lambda: PolledFile("/proc/self/mountinfo"),
    "paths": PathChanges,
    "routes": RouteChanges,
    "systemd": SystemdSignals,
}


def parse_condition(text: str) -> Condition:
    """Return the condition that a text describes. Raises OSError (EINVAL)."""
    name = text
    for character in "=,<":
        name = name.partition(character)[0]
    value = text[len(name) :]
    if name not in _KINDS or value.startswith("<") != (name == "load"):
        raise wrong(text, f"expected one of {', '.join(sorted(_KINDS))}, see the description of wait-for")
    # The options of `address,dev=eth0` follow an empty value.
    return _KINDS[name](text, value if value.startswith(",") else value[1:])


class Waiting:
    """Conditions that are not fulfilled yet, and the sources that tell when to check them.

    `check` is called by one thread at a time; everything else by the loop.

    Args:
        texts: The conditions.

    Attributes:
        pending: The conditions by their index.
        sources: What the loop watches.

    Raises:
        OSError: EINVAL if a condition is malformed; ENOTSUP if the guest cannot tell.
    """

    def __init__(self, texts: list[str]) -> None:
        self.sources: dict[str, Source] = {}
        self.pending: dict[int, Condition] = {}
        try:
            for index, text in enumerate(texts):
                condition = parse_condition(text)
                self.pending[index] = condition
                for name in condition.sources:
                    self._open(name)
                if isinstance(condition, PressureCondition):
                    self.sources[f"pressure {index}"] = condition.trigger
                elif isinstance(condition, PathCondition):
                    changes = self.sources.get("paths")
                    assert changes is None or isinstance(changes, PathChanges)
                    condition.changes = changes
                elif isinstance(condition, SystemdCondition):
                    signals = self.sources["systemd"]
                    assert isinstance(signals, SystemdSignals)
                    condition.signals = signals
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> None:
        if name in self.sources:
            return
        try:
            self.sources[name] = _SOURCES[name]()
        except OSError:
            if name != "paths":
                raise
            # The kernel has no inotify instance left: the paths are looked at periodically.

    @property
    def period(self) -> float:
        """Seconds until some condition must be checked because the kernel does not tell; 0 for never."""
        return min((condition.period for condition in self.pending.values() if condition.period), default=0.0)

    def changed(self, name: str, checking: bool) -> tuple[set[int], bool]:
        """Read from a source that is ready; return which conditions to check, and whether to call this again.

        Args:
            checking: `check` is running, and may be about to watch other paths.
        """
        source = self.sources[name]
        items, more = source.read()
        sure = not (source.lost or checking)
        source.lost = False
        return {
            index
            for index, condition in self.pending.items()
            if (name in condition.sources or source is getattr(condition, "trigger", None))
            and (condition.concerns(name, items) or not sure)
        }, more

    def check(self, indexes: set[int]) -> tuple[list[tuple[int, str]], set[int]]:
        """Return the fulfilled ones of these conditions with what was found, and those to check again. May block.

        Raises:
            OSError: The kernel cannot be asked.
        """
        facts = Facts()
        found = []
        again = set()
        for index in sorted(indexes & self.pending.keys()):
            try:
                result = self.pending[index].check(facts)
            except OSError as error:
                # What was read kept changing.
                if error.errno != EAGAIN:
                    raise
                again.add(index)
                continue
            if result is not None:
                found.append((index, result))
        return found, again

    def close(self) -> None:
        """Close the sources."""
        for source in self.sources.values():
            source.close()
        self.sources.clear()
