"""What makes the events that a client asks for."""

from __future__ import annotations

from phoenix_ga.agent.operations.events.devices import DeviceProducer
from phoenix_ga.agent.operations.events.kernel_log import KernelLogProducer
from phoenix_ga.agent.operations.events.mounts import MountProducer
from phoenix_ga.agent.operations.events.network import NetworkProducer
from phoenix_ga.agent.operations.events.services import ServiceProducer
from phoenix_ga.agent.operations.events.sessions import SessionProducer
from phoenix_ga.agent.operations.events.system import ClockProducer, PressureProducer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Final

    from phoenix_ga.agent.operations.events.producer import Producer

_PRODUCERS: Final[tuple[tuple[tuple[str, ...], Callable[[], Producer]], ...]] = (
    (NetworkProducer.names, NetworkProducer),
    (MountProducer.names, MountProducer),
    (DeviceProducer.names, DeviceProducer),
    # Without it, a filesystem that an error has made read-only is told with the next change of any mount.
    ((*KernelLogProducer.names, "REMOUNTED"), KernelLogProducer),
    (PressureProducer.names, lambda: PressureProducer("cpu")),
    (PressureProducer.names, lambda: PressureProducer("io")),
    (PressureProducer.names, lambda: PressureProducer("memory")),
    (ClockProducer.names, ClockProducer),
    (ServiceProducer.names, ServiceProducer),
    (SessionProducer.names, SessionProducer),
)


def make_producers(names: Collection[str]) -> tuple[list[Producer], list[dict[str, str]]]:
    """Return what makes these events, and the events that the guest cannot tell, with the reasons."""
    made = []
    unavailable = {}
    for own, make in _PRODUCERS:
        wanted = [name for name in own if name in names]
        if not wanted:
            continue
        try:
            made.append(make())
        except OSError as error:
            unavailable.update(dict.fromkeys(wanted, error.strerror or str(error)))
    return made, [{"name": name, "reason": reason} for name, reason in unavailable.items()]
