"""Commands about the system and its clock."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import INTEGER, STRING, GuestCommand, Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final[tuple[GuestCommand, ...]] = (
    GuestCommand(
        "guest-get-osinfo",
        "system:guest_get_osinfo",
        "Return the kernel version, and the contents of os-release(5).",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-get-host-name",
        "system:guest_get_host_name",
        "Return the host name.",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-get-timezone",
        "system:guest_get_timezone",
        "Return the time zone, and its offset east of UTC in seconds.",
    ),
    GuestCommand(
        "guest-get-time",
        "system:guest_get_time",
        "Return the time, in nanoseconds since the epoch.",
    ),
    GuestCommand(
        "guest-set-time",
        "system:guest_set_time",
        "Set the clocks of the system and of the hardware; without a time, the former from the latter.",
        parameters=(Parameter("time", INTEGER, optional=True),),
        changes=True,
    ),
    GuestCommand(
        "guest-get-load",
        "system:guest_get_load",
        "Return the load averages of one, five and fifteen minutes.",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-shutdown",
        "system:guest_shutdown",
        "Power down, halt or reboot the machine.",
        parameters=(Parameter("mode", STRING, optional=True),),
        changes=True,
        answers=False,
    ),
    GuestCommand(
        "guest-suspend-disk",
        "system:guest_suspend_disk",
        "Hibernate.",
        changes=True,
        answers=False,
    ),
    GuestCommand(
        "guest-suspend-ram",
        "system:guest_suspend_ram",
        "Sleep with what is in memory.",
        changes=True,
        answers=False,
    ),
    GuestCommand(
        "guest-suspend-hybrid",
        "system:guest_suspend_hybrid",
        "Sleep with what is in memory, and on the disk too.",
        changes=True,
        answers=False,
    ),
)
