"""A process that thaws if the agent cannot: because it was killed, or does not return from the kernel.

It is forked before anything is frozen, and holds only the open mount points and the run directory: no port,
which the next agent needs, and no socket. It reads no file and allocates no large memory.
"""

from __future__ import annotations

import gc
import os
import select
from time import monotonic

from phoenix_ga.agent.linux.descriptors import close_all_but

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

_NAME: Final = b"phoenix-guard"
# Seconds after the deadline of the freeze at which the watchdog thaws instead of the agent.
PATIENCE: Final = 10.0
# Seconds in which systemd ends the other processes of a service whose main process died.
_CLEANUP_TIME: Final = 1.0

_FROZEN: Final = b"f"
_SKIPPED: Final = b"l"
_THAWED: Final = b"t"


class Watchdog:
    """The watchdog of one freeze. Created before it, ended after it.

    Args:
        descriptors: the mount points, in the order of freezing.
        thaw: thaws one of them; raises OSError.
        kept: other descriptors that `finish` needs.
        finish: called in the watchdog after the agent died, with the number of filesystems that the watchdog
            thawed, or None if there was nothing to thaw.
        time_limit: of the freeze, in seconds; 0 for none.

    Raises:
        OSError: EAGAIN if no process is left.
    """

    __slots__ = ("_process", "_report")

    def __init__(
        self,
        descriptors: Sequence[int],
        thaw: Callable[[int], None],
        kept: Sequence[int],
        finish: Callable[[int | None], None],
        time_limit: float = 0.0,
    ) -> None:
        reading, self._report = os.pipe2(os.O_CLOEXEC)
        try:
            # A signal to the child would be written to the agent's wake-up pipe; and the child must
            # survive signals that are meant for the agent.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._process = os.fork()
                if self._process == 0:
                    _watch(reading, list(descriptors), thaw, kept, finish, time_limit)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except OSError as error:
            os.close(self._report)
            raise OSError(error.errno, f"cannot start the watchdog process: {error.strerror}") from error
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(reading)

    def note(self, frozen: bool) -> None:
        """Report that the next filesystem was frozen, or skipped."""
        self._send(_FROZEN if frozen else _SKIPPED)

    def dismiss(self) -> None:
        """Report that everything is thawed, though hooks may still run."""
        self._send(_THAWED)

    def end(self) -> None:
        """Kill the watchdog: there is nothing left to do for it."""
        os.close(self._report)
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def _send(self, what: bytes) -> None:
        try:
            os.write(self._report, what)
        except BrokenPipeError:
            # Somebody killed it.
            pass


def _watch(
    reading: int,
    descriptors: list[int],
    thaw: Callable[[int], None],
    kept: Sequence[int],
    finish: Callable[[int | None], None],
    time_limit: float,
) -> None:
    """Be the watchdog. Never returns."""
    status = 1
    try:
        # Garbage-collected objects of the agent would close descriptor numbers that are in use again.
        gc.disable()
        os.setsid()
        close_all_but({0, 1, 2, reading, *descriptors, *kept})
        with open("/proc/self/comm", "wb") as file:
            file.write(_NAME)
        reports = _listen(reading, descriptors, thaw, time_limit)
        thawed = None if reports.endswith(_THAWED) or not descriptors else _thaw(reports, descriptors, thaw)
        # Hooks may want to unmount them.
        for descriptor in descriptors:
            os.close(descriptor)
        _wait_for_cleanup()
        finish(thawed)
        status = 0
    finally:
        os._exit(status)


def _listen(reading: int, descriptors: Sequence[int], thaw: Callable[[int], None], time_limit: float) -> bytes:
    """Return what the agent has reported, after its death. At the deadline, thaw."""
    reports = b""
    deadline = monotonic() + time_limit + PATIENCE if time_limit else 0.0
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, deadline - monotonic()) * 1000 if deadline else None):
            if not reports.endswith(_THAWED):
                _thaw(reports, descriptors, thaw)
            deadline = 0.0
            continue
        more = os.read(reading, 4096)
        if not more:
            return reports
        reports += more


def _thaw(reports: bytes, descriptors: Sequence[int], thaw: Callable[[int], None]) -> int:
    """Thaw what was reported as frozen, and the next one, which may be frozen and not reported yet."""
    thawed = 0
    for number in range(min(len(reports), len(descriptors) - 1), -1, -1):
        if reports[number : number + 1] != _SKIPPED:
            try:
                thaw(descriptors[number])
                thawed += 1
            except OSError:
                continue
    return thawed


def _wait_for_cleanup() -> None:
    # A hook that started earlier would be killed by systemd, too.
    signal.sigtimedwait((signal.SIGTERM,), _CLEANUP_TIME)
