"""Waiting for conditions in the guest, and hearing of its events."""

from __future__ import annotations

from phoenix_ga.wire.commands.shared import TOO_MANY_STREAMS, WINDOW
from phoenix_ga.wire.declaration import Argument, Command, Example, StreamMember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Conditions of one request.
CONDITIONS_MAX: Final = 1024
# The words that conditions begin with.
CONDITIONS: Final = ("address", "boot-complete", "load", "path", "port", "pressure", "route", "shutdown", "unit")

COMMANDS = (
    Command(
        "wait-for",
        "Wait until conditions are fulfilled. The kernel tells the agent when to look, so waiting costs nothing.\n\n"
        "A condition is one of: "
        "`address[=4|6][,dev=NAME][,mac=ADDRESS][,cidr=PREFIX]`: an interface has an address that others can reach, "
        "not one of the loopback interface, of a single link, or of containers, unless `cidr` or `dev` names it; "
        "`route[=4|6]`: there is a default route; "
        "`port=[ADDRESS:]NUMBER`: a TCP socket listens (looked at twice a second); "
        "`path=PATH[,absent]`: a path exists, or does not (on network filesystems and those of the kernel itself, "
        "looked at every 2 seconds); "
        "`unit=NAME`: a unit of systemd is active; `boot-complete`: systemd has started everything; "
        "`load<NUMBER`: the load average of one minute is lower (looked at every 5 seconds, when the kernel computes "
        "it); "
        "`pressure=cpu|io|memory[,some|full][,STALL/WINDOW]`: tasks stall for so many milliseconds of a window; "
        "`200/2000` if not given; "
        "`shutdown`: the agent ends, which resets the stream.",
        handler="waiting:wait_for",
        arguments=(
            Argument("conditions", list, f"At most {CONDITIONS_MAX}."),
            Argument("any", bool, "End with the first condition that is fulfilled.", default=False),
            WINDOW,
        ),
        returns="`stream`: its number. For each condition that is fulfilled, a line of the stream is a JSON object: "
        "`condition`, its index in the request, and `found`, what was found, such as the address. The stream ends "
        "after the last one. To wait no longer, reset the stream. The client sends no data.",
        errors=(
            ("EINVAL", "a condition is malformed, or the kernel does not accept its figures"),
            ("ENOTSUP", "the guest has no systemd"),
            TOO_MANY_STREAMS,
        ),
        examples=(Example({"conditions": ["path=/tmp/phoenix"], "window": 0}, {"stream": 70019}, exact=False),),
        streams=(StreamMember("stream"),),
    ),
    Command(
        "events",
        "Tell what happens in the guest, as it happens. [events.md](events.md) lists the events.\n\n"
        "The kernel wakes the agent for them. What nobody has asked for costs nothing.",
        handler="events:events",
        arguments=(
            Argument("names", list, "Names of events; empty: all.", default=[]),
            WINDOW,
        ),
        returns="`stream`: its number; `agent`: identifies the running agent, the same until it is started again; "
        "`boot`: identifies the boot of the guest; `unavailable`: array of objects with the `name` of an event that "
        "the guest cannot tell, and the `reason`. Each line of the stream is a JSON object with the form of an event "
        "of QMP: `event`, its name; `data`; `timestamp`, with `seconds` since the epoch and `microseconds`. If the "
        "client does not read, the oldest 500 events are kept, and EVENTS_LOST tells how many others there were. The "
        "stream ends when the client resets it. The client sends no data.",
        errors=(("EINVAL", "there is no event of that name"), TOO_MANY_STREAMS),
        examples=(
            Example(
                {"names": ["MOUNTED"], "window": 0},
                {
                    "agent": "4711-1203",
                    "boot": "0f8fad5b-d9cb-469f-a165-70867728950e",
                    "unavailable": [],
                    "stream": 70020,
                },
                exact=False,
            ),
        ),
        streams=(StreamMember("stream"),),
    ),
)
