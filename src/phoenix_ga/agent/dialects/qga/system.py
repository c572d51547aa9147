"""Commands about the system: identity, clock, load, shutdown and suspend."""

from __future__ import annotations

import os

from phoenix_ga.agent.operations import clock, identity, power
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.context import Context

_RELEASE: Final = ("id", "name", "pretty-name", "version", "version-id", "variant", "variant-id")
_NANOSECONDS: Final = 1_000_000_000
# Two seconds before 2070: clocks of the hardware count years with two digits, and are set when a second begins.
_SECONDS_MAX: Final = 3_155_759_998
_CLOCK_FAILED: Final = "hwclock failed to set hardware clock to system time"


def guest_get_osinfo(context: Context) -> dict[str, str]:
    kernel = os.uname()
    path = os.environ.get("QGA_OS_RELEASE")
    release = identity.os_release((path,)) if path else identity.os_release()
    named = {name: release.get(name.upper().replace("-", "_")) for name in _RELEASE}
    return {
        "kernel-release": kernel.release,
        "kernel-version": kernel.version,
        "machine": kernel.machine,
        **{name: value for name, value in named.items() if value is not None},
    }


def guest_get_host_name(context: Context) -> dict[str, str]:
    return {"host-name": identity.host_name()}


def guest_get_timezone(context: Context) -> dict[str, Any]:
    zone, offset = identity.time_zone()
    return {"zone": zone, "offset": offset}


def guest_get_time(context: Context) -> int:
    return clock.get_time()


def guest_set_time(context: Context, time: int | None) -> None:
    """Set the clocks of the system and of the hardware; without a time, the former from the latter."""
    if time is not None:
        if not -_NANOSECONDS < time < _SECONDS_MAX * _NANOSECONDS:
            raise CommandError("Invalid time", NO_CODE)
        try:
            clock.set_time(time)
        except OSError as error:
            raise CommandError(f"Failed to set time to guest: {error.strerror}", NO_CODE) from None
    try:
        if time is None:
            clock.read_hardware_clock()
        else:
            clock.write_hardware_clock()
    except OSError as error:
        raise CommandError(f"{_CLOCK_FAILED}: {error.strerror}", NO_CODE) from None


def guest_get_load(context: Context) -> dict[str, float]:
    one, five, fifteen = os.getloadavg()
    return {"load1m": one, "load5m": five, "load15m": fifteen}


def guest_shutdown(context: Context, mode: str | None) -> None:
    try:
        power.shut_down("powerdown" if mode is None else mode)
    except ValueError:
        raise CommandError("mode is invalid (valid values are: halt|powerdown|reboot", NO_CODE) from None


def guest_suspend_disk(context: Context) -> None:
    power.sleep("disk")


def guest_suspend_ram(context: Context) -> None:
    power.sleep("ram")


def guest_suspend_hybrid(context: Context) -> None:
    power.sleep("hybrid")
