"""The events that `events` tells, each declared once.

docs/events.md, completion and the checks of the tests are derived from this table.
"""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


class Event:
    """The declaration of an event.

    Args:
        name: Its name, as QEMU writes the names of its own.
        help: When it happens. The first sentence is its summary.
        members: The members of `data`.
        example: An example of `data`.
        by_client: It is made by the client, and the agent does not know it.
    """

    __slots__ = ("by_client", "example", "help", "members", "name")

    def __init__(
        self,
        name: str,
        help: str,
        *members: Argument,
        example: dict[str, Any],
        by_client: bool = False,
    ) -> None:
        self.name = name
        self.help = help
        self.members = members
        self.example = example
        self.by_client = by_client


_IFNAME = Argument("ifname", str, "Name of the interface.")
_LINK = (
    Argument("index", int, "Index of the interface, which it keeps if it is renamed."),
    _IFNAME,
    Argument("hwaddr", str, "Hardware address; empty if it has none."),
    Argument("flags", str, "Words joined by `|`, as in `get-netifaces`."),
    Argument("carrier", bool, "Whether the other end of the cable, or what the interface stands for, is there."),
)
_LINK_EXAMPLE = {
    "index": 2,
    "ifname": "eth0",
    "hwaddr": "52:54:00:12:34:56",
    "flags": "up|broadcast|multicast",
    "carrier": True,
}
_ADDRESS = (_IFNAME, Argument("ip", str, "The address, with its prefix length."))
_ADDRESS_EXAMPLE = {"ifname": "eth0", "ip": "192.0.2.10/24"}
_ROUTE = (
    _IFNAME,
    Argument("dst", str, "Destination, with its prefix length; `default` for a default route."),
    Argument("gateway", str, "Address of the next hop; empty if there is none."),
)
_ROUTE_EXAMPLE = {"ifname": "eth0", "dst": "default", "gateway": "192.0.2.1"}
_MOUNT = (
    Argument("mountpoint", str, "Where it is, or was, mounted."),
    Argument("type", str, "Type of the filesystem."),
    Argument("source", str, "What is mounted, such as a device."),
    Argument("read_only", bool, "Whether the filesystem takes no writes."),
)
_MOUNT_EXAMPLE = {"mountpoint": "/srv", "type": "ext4", "source": "/dev/vdb1", "read_only": False}
_DEVICE = (
    Argument("kind", str, "`disk`, `partition`, `cpu` or `memory`."),
    Argument("name", str, "Its name in the kernel, such as `vdb`, `cpu3` or `memory40`."),
)
_SESSION = (
    Argument("user", str, "Name of the user."),
    Argument("terminal", str, "The terminal, such as `tty1` or `pts/0`; empty if there is none, or none yet."),
    Argument("host", str, "From where; empty if it is the guest itself."),
)
_SESSION_EXAMPLE = {"user": "anna", "terminal": "pts/0", "host": "192.0.2.1"}
_GENERATION = Argument("generation", str, "Which freeze it was.")
_BY = Argument("by", str, "The port of the client that asked for it; `deadline` if the time limit was reached.")

EVENTS: Final[tuple[Event, ...]] = (
    Event("LINK_ADDED", "There is a new network interface.", *_LINK, example=_LINK_EXAMPLE),
    Event(
        "LINK_CHANGED",
        "A network interface has changed: its name, address, flags, or whether there is a carrier.",
        *_LINK,
        example=_LINK_EXAMPLE,
    ),
    Event("LINK_REMOVED", "A network interface is gone.", *_LINK, example={**_LINK_EXAMPLE, "carrier": False}),
    Event("ADDRESS_ADDED", "An interface has a new address.", *_ADDRESS, example=_ADDRESS_EXAMPLE),
    Event("ADDRESS_REMOVED", "An interface has lost an address.", *_ADDRESS, example=_ADDRESS_EXAMPLE),
    Event("ROUTE_ADDED", "The main table has a new or changed route.", *_ROUTE, example=_ROUTE_EXAMPLE),
    Event("ROUTE_REMOVED", "The main table has lost a route.", *_ROUTE, example=_ROUTE_EXAMPLE),
    Event("MOUNTED", "A filesystem was mounted.", *_MOUNT, example=_MOUNT_EXAMPLE),
    Event("UNMOUNTED", "A filesystem was unmounted.", *_MOUNT, example=_MOUNT_EXAMPLE),
    Event(
        "REMOUNTED",
        "A filesystem has become read-only, or writable again. An error on a disk does that as well.",
        *_MOUNT,
        example={**_MOUNT_EXAMPLE, "read_only": True},
    ),
    Event(
        "DEVICE_ADDED",
        "A disk, processor or memory block was plugged in.",
        *_DEVICE,
        example={"kind": "disk", "name": "vdb"},
    ),
    Event(
        "DEVICE_REMOVED",
        "A disk, processor or memory block was unplugged.",
        *_DEVICE,
        example={"kind": "disk", "name": "vdb"},
    ),
    Event(
        "DEVICE_CHANGED",
        "A disk, processor or memory block has changed.",
        *_DEVICE,
        Argument("action", str, "`online`, `offline`, `resize`, or `change` for anything else."),
        example={"kind": "cpu", "name": "cpu3", "action": "offline"},
    ),
    Event(
        "OOM_KILL",
        "The kernel has killed a process, because memory was short.",
        Argument("pid", int, "The process ID."),
        Argument("name", str, "Its name in the kernel, at most 15 characters."),
        Argument("uid", int, "Its user."),
        Argument("cgroup", str, "Its control group."),
        Argument("constraint", str, "`cgroup` if the limit of a control group was reached; else `system`."),
        example={
            "pid": 4711,
            "name": "java",
            "uid": 1000,
            "cgroup": "/system.slice/app.service",
            "constraint": "cgroup",
        },
    ),
    Event(
        "PRESSURE",
        "Tasks have stalled for 0.5 of 2 seconds for want of a resource. It is told at most once in 2 seconds.",
        Argument("resource", str, "`cpu`, `io` or `memory`."),
        example={"resource": "memory"},
    ),
    Event(
        "TIME_JUMPED",
        "The clock was set.",
        Argument("offset", int, "By how much, in milliseconds; negative if it was set back."),
        example={"offset": -3600000},
    ),
    Event(
        "FROZEN",
        "The agent has frozen filesystems.",
        _GENERATION,
        Argument("mountpoints", list, "What is frozen, in the order of freezing."),
        _BY,
        example={"generation": "5a4c9be2c1a3c78f", "mountpoints": ["/srv", "/"], "by": "unix:/run/web1.sock"},
    ),
    Event(
        "THAWED",
        "All filesystems that the agent had frozen are thawed.",
        _GENERATION,
        Argument("ended", str, "How the freeze ended, as in `get-freeze-status`."),
        _BY,
        example={"generation": "5a4c9be2c1a3c78f", "ended": "deadline", "by": "deadline"},
    ),
    Event(
        "SERVICE_FAILED",
        "A service of systemd has failed. One that systemd restarts has failed only once systemd gives up.",
        Argument("unit", str, "The service, such as `nginx.service`."),
        Argument(
            "result",
            str,
            "Why, as in systemd's property `Result`: `exit-code`, `signal`, `core-dump`, `timeout`, `watchdog`, "
            "`oom-kill`, `start-limit-hit` and others.",
        ),
        Argument("status", int, "The exit status of its main process; -1 if a signal ended it."),
        Argument("signal", int, "The signal that ended its main process; 0 if none did."),
        example={"unit": "nginx.service", "result": "exit-code", "status": 1, "signal": 0},
    ),
    Event("LOGIN", "Somebody has logged in, on a terminal or over the network.", *_SESSION, example=_SESSION_EXAMPLE),
    Event(
        "LOGOUT",
        "Somebody has logged out. If the session was killed and nobody notes that, it is told with the next login or "
        "logout.",
        *_SESSION,
        example=_SESSION_EXAMPLE,
    ),
    Event(
        "PROGRAM_ENDED",
        "A detached program of `exec` has ended.",
        Argument("pid", int, "Its process ID."),
        Argument("argv", list, "The program and its arguments."),
        Argument("status", int, "Its exit status; -1 if a signal ended it."),
        Argument("signal", int, "The signal that ended it; 0 if none did."),
        example={"pid": 4711, "argv": ["make", "all"], "status": 2, "signal": 0},
    ),
    Event(
        "EVENTS_LOST",
        "Events were dropped, because the client did not read fast enough, or because there were too many.",
        Argument("count", int, "How many the agent has dropped."),
        Argument("more", bool, "Whether the kernel has dropped others, of which it tells no number."),
        example={"count": 8976, "more": False},
    ),
    Event(
        "CONNECTION_LOST",
        "The client has lost the connection: the agent was stopped, or the guest is off.",
        Argument("reason", str, "The error."),
        example={"reason": "the agent is stopping"},
        by_client=True,
    ),
    Event(
        "CONNECTION_RESTORED",
        "The client is connected again. Events since CONNECTION_LOST were missed.",
        Argument("agent_restarted", bool, "Whether the agent was started since."),
        Argument("guest_booted", bool, "Whether the guest was booted since."),
        example={"agent_restarted": True, "guest_booted": False},
        by_client=True,
    ),
)

BY_NAME: Final[dict[str, Event]] = {event.name: event for event in EVENTS}
