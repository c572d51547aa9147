"""Forking a child that is to execute a program, and waiting until it has."""

from __future__ import annotations

import errno
import os
import select
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

# How often a process is started again because its process ID is in use.
_ATTEMPTS: Final = 1000
# Seconds in which a child must have executed its program. The user can stop it, or let it hang in FUSE.
_START_TIME: Final = 10.0
# Children that did not start in time and may be stuck in the kernel.
_abandoned: Final[list[int]] = []
_abandoned_lock: Final = allocate_lock()


class StepError(OSError):
    """A child could not execute its program. step: what failed."""

    step = ""


def start_child(become: Callable[[int], None]) -> int:
    """Fork, and return the process ID once the child has executed its program.

    Args:
        become: called in the child, with a descriptor on which to report a failure as `STEP ERRNO`; never returns.

    Raises:
        StepError: the child could not execute it.
        OSError: ETIMEDOUT if the child did neither in time; EAGAIN if no process is left.
    """
    reap_abandoned()
    for _ in range(_ATTEMPTS):
        report_read, report_write = os.pipe2(os.O_CLOEXEC)
        try:
            # A signal to the child before it executes its program would be written to our wake-up pipe.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    become(report_write)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            os.close(report_read)
            raise
        finally:
            os.close(report_write)
        try:
            poll = select.poll()
            poll.register(report_read, select.POLLIN)
            if not poll.poll(_START_TIME * 1000):
                _abandon(pid)
                raise OSError(
                    errno.ETIMEDOUT,
                    f"the program did not start within {_START_TIME:g} seconds: it or its directory is on a "
                    "filesystem that hangs, or the user has stopped the process",
                )
            report = os.read(report_read, 64)
        finally:
            os.close(report_read)
        if not report:
            return pid
        # It is about to exit, unless its user has stopped it.
        _kill(pid)
        os.waitpid(pid, 0)
        step, number = report.decode().split()
        if step != "number":
            error = StepError(int(number), os.strerror(int(number)))
            error.step = step
            raise error
    raise OSError(errno.EAGAIN, "all process IDs are in use")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        # It has become another user's, and the agent has no CAP_KILL.
        pass


def _abandon(pid: int) -> None:
    """Kill a child, and do not wait for its end: it may be stuck in the kernel."""
    _kill(pid)
    with _abandoned_lock:
        _abandoned.append(pid)


def reap_abandoned() -> None:
    """Reap the killed children that have ended since."""
    with _abandoned_lock:
        _abandoned[:] = [pid for pid in _abandoned if os.waitpid(pid, os.WNOHANG) == (0, 0)]
