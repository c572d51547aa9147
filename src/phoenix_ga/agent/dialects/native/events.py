"""The command that tells what happens."""

from __future__ import annotations

import os
from errno import EINVAL

from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.wire.events import EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def events(context: Context, names: list[str], window: int) -> Opened:
    from phoenix_ga.agent.endpoints.events import EventsEndpoint
    from phoenix_ga.agent.operations.events.producers import make_producers

    known = {event.name for event in EVENTS if not event.by_client}
    for name in names:
        if name not in known:
            raise OSError(EINVAL, f"there is no event {name[:100]!r}")
    wanted = {*names, "EVENTS_LOST"} if names else known
    producers, unavailable = make_producers(wanted)
    with open("/proc/self/stat", "rb") as file:
        # The time when the process was started, which parking does not change.
        started = file.read().rpartition(b") ")[2].split()[19].decode()
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    answer = {"agent": f"{os.getpid()}-{started}", "boot": boot, "unavailable": unavailable}
    return Opened(answer, {"stream": EventsEndpoint(producers, wanted, context.subscribers)}, window)
