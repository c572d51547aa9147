"""Events of pressure and of the clock."""

from __future__ import annotations

from phoenix_ga.agent.linux.clock_changes import ClockChanges
from phoenix_ga.agent.linux.source import PressureTrigger
from phoenix_ga.agent.operations.events.producer import Producer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.events.producer import Tell

# Microseconds. Without CAP_SYS_RESOURCE, the window must be a multiple of two seconds.
_STALL: Final = 500_000
_WINDOW: Final = 2_000_000
_NANOSECONDS: Final = 1_000_000


class PressureProducer(Producer):
    """Tells that tasks stall."""

    names = ("PRESSURE",)

    def __init__(self, resource: str) -> None:
        super().__init__(PressureTrigger(resource, "some", _STALL, _WINDOW))

    def take(self, items: list[Any], tell: Tell) -> None:
        for resource, _ in items:
            tell("PRESSURE", {"resource": resource}, resource)


class ClockProducer(Producer):
    """Tells that the clock was set."""

    names = ("TIME_JUMPED",)

    def __init__(self) -> None:
        super().__init__(ClockChanges())

    def take(self, items: list[Any], tell: Tell) -> None:
        for offset in items:
            tell("TIME_JUMPED", {"offset": round(offset / _NANOSECONDS)}, None)
