"""Being told that the clock was set, see timerfd_create(2): a timer that never ends is cancelled then.

The C half of `ctypes` is called directly, as in `inotify`.
"""

from __future__ import annotations

import os
from errno import ECANCELED
from struct import pack
from time import CLOCK_BOOTTIME, CLOCK_REALTIME, clock_gettime_ns

from phoenix_ga.agent.linux.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    dlopen: Callable[[str | None, int], int]
    dlsym: Callable[[int, str], int]
    call_cdeclfunction: Callable[[int, tuple[int | bytes, ...]], int]
else:
    from _ctypes import call_cdeclfunction, dlopen, dlsym

_TFD_TIMER_ABSTIME: Final = 1
_TFD_TIMER_CANCEL_ON_SET: Final = 2
# In the year 2262, where nanoseconds in 64 bits end.
_NEVER: Final = 2**63 // 10**9 - 1

_libc: Final = dlopen(None, 0)


class ClockChanges(Source):
    """Reads by how many nanoseconds the clock was set. Raises OSError."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        fd = call_cdeclfunction(dlsym(_libc, "timerfd_create"), (CLOCK_REALTIME, flags))
        if fd < 0:
            raise OSError(24, "the kernel has no timer left")
        super().__init__(fd)
        self._offset = _offset()
        self._arm()

    def read(self) -> tuple[list[int], bool]:
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return [], False
        except OSError as error:
            if error.errno != ECANCELED:
                raise
        self._arm()
        before, self._offset = self._offset, _offset()
        return [self._offset - before], False

    def _arm(self) -> None:
        # struct itimerspec, whose times are longs: an interval of 0, and the time of the end.
        spec = pack("llll", 0, 0, _NEVER, 0)
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        call_cdeclfunction(dlsym(_libc, "timerfd_settime"), (self.fd, flags, spec, 0))


def _offset() -> int:
    return clock_gettime_ns(CLOCK_REALTIME) - clock_gettime_ns(CLOCK_BOOTTIME)
