"""The system clock, and the hardware clock, see rtc(4)."""

from __future__ import annotations

import os
import time
from errno import ENODEV
from fcntl import ioctl
from struct import Struct

from phoenix_ga.agent.operations.programs import run_to_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NANOSECONDS: Final = 1_000_000_000
# struct rtc_time of linux/rtc.h: second, minute, hour, day, month from 0, year from 1900, and three unused.
_RTC_TIME: Final = Struct("9i")
_RTC_RD_TIME: Final = 0x80247009
_RTC_SET_TIME: Final = 0x4024700A
_DEVICES: Final = ("/dev/rtc", "/dev/rtc0", "/dev/misc/rtc")
# hwclock(8): the third line is the time zone of the hardware clock.
_ADJTIME: Final = "/etc/adjtime"
_HWCLOCK: Final = "/sbin/hwclock"
# A PC's clock begins its next second half a second after it is set; others begin one immediately.
_PC_CLOCK: Final = "rtc_cmos"
_PC_DELAY: Final = 500_000_000
# Interval and time limit of checks whether the next second has begun, in seconds.
_LOOK_EVERY: Final = 0.005
_LOOK_FOR: Final = 1.5


def get_time() -> int:
    """Return the time, in nanoseconds since the epoch, to the microsecond."""
    return time.time_ns() // 1000 * 1000


def set_time(nanoseconds: int) -> None:
    """Set the system clock. Raises OSError."""
    time.clock_settime_ns(time.CLOCK_REALTIME, nanoseconds)


def write_hardware_clock() -> None:
    """Set the hardware clock from the system clock, so that their seconds begin together.

    Takes up to a second. Raises OSError (ENODEV if there is none).
    """
    try:
        _write_device()
    except OSError:
        if run_to_end([_HWCLOCK, "-w"]) != 0:
            raise


def read_hardware_clock() -> None:
    """Set the system clock from the hardware clock, at the beginning of a second.

    Takes up to a second. Raises OSError (ENODEV if there is none).
    """
    try:
        seconds = _read_device()
    except OSError:
        if run_to_end([_HWCLOCK, "-s"]) != 0:
            raise
    else:
        set_time(seconds * _NANOSECONDS)


def _write_device() -> None:
    fd = _open()
    try:
        begins = _second_begins()
        time.sleep((begins - time.time_ns()) % _NANOSECONDS / _NANOSECONDS)
        # To the nearest: it may have slept a bit too long, or too short.
        seconds = (time.time_ns() - begins + _NANOSECONDS // 2) // _NANOSECONDS
        now = time.localtime(seconds) if _is_local() else time.gmtime(seconds)
        value = _RTC_TIME.pack(
            min(now.tm_sec, 59), now.tm_min, now.tm_hour, now.tm_mday, now.tm_mon - 1, now.tm_year - 1900, 0, 0, 0
        )
        ioctl(fd, _RTC_SET_TIME, value)
    finally:
        os.close(fd)


def _read_device() -> int:
    """Return the seconds since the epoch of the second that has just begun."""
    fd = _open()
    try:
        first = fields = _read_fields(fd)
        deadline = time.monotonic() + _LOOK_FOR
        while fields == first and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
            fields = _read_fields(fd)
    finally:
        os.close(fd)
    second, minute, hour, day, month, year = fields[:6]
    if _is_local():
        return int(time.mktime((year + 1900, month + 1, day, hour, minute, second, 0, 0, -1)))
    return _seconds(year + 1900, month + 1, day, hour, minute, second)


def _read_fields(fd: int) -> tuple[int, ...]:
    return _RTC_TIME.unpack(ioctl(fd, _RTC_RD_TIME, bytes(_RTC_TIME.size)))


def _open() -> int:
    for path in _DEVICES:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
    raise OSError(ENODEV, "there is no clock of the hardware")


def _second_begins() -> int:
    """Return how many nanoseconds after it is set the clock begins its next second."""
    for path in _DEVICES:
        device = os.path.basename(os.path.realpath(path))
        try:
            with open(f"/sys/class/rtc/{device}/name", encoding="ascii", errors="replace") as file:
                return _PC_DELAY if file.read().startswith(_PC_CLOCK) else 0
        except OSError:
            continue
    return 0


def _is_local() -> bool:
    try:
        with open(_ADJTIME, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()[2:3] == ["LOCAL"]
    except OSError:
        return False


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Return the seconds since the epoch of a time in UTC."""
    # Years begin in March, so that the leap day is the last one (the civil calendar in days).
    years = year - (month <= 2)
    days = 365 * years + years // 4 - years // 100 + years // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second
