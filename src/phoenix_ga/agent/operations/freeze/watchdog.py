"""A process that thaws if the agent cannot: because it was killed, or does not return from the kernel.

It notices the death of the agent by the end of a pipe. If a thread of the agent is stuck in the kernel, SIGKILL ends
all threads but that one, which keeps the pipe open: so the watchdog also looks at the agent's state while something
is frozen.

It is forked before anything is frozen, and holds only the open mount points and the run directory: no port,
which the next agent needs, and no socket. It reads no file but one in /proc, and allocates no large memory.
"""

from __future__ import annotations

import gc
import mmap
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
_COMM: Final = "/proc/self/comm"
# Seconds after the deadline of the freeze at which the watchdog thaws instead of the agent.
PATIENCE: Final = 10.0
# Seconds in which systemd ends the other processes of a service whose main process died.
_CLEANUP_TIME: Final = 1.0
# Seconds between looks at the state of the agent.
_POLL_TIME: Final = 1.0
# Seconds to wait for a thaw before starting the next one beside it.
_THAW_TIME: Final = 1.0
_KILLED: Final = 1 << (signal.SIGKILL - 1)

_FROZEN: Final = b"f"
_SKIPPED: Final = b"l"
_THAWED: Final = b"t"


class Watchdog:
    """The watchdog of one freeze. Created before it, ended after it.

    Args:
        descriptors: the mount points, in the order of freezing.
        thaw: thaws one of them, in a process of its own; raises OSError.
        kept: other descriptors that `finish` needs.
        finish: called in the watchdog after the agent died, with the number of filesystems that the watchdog
            thawed, or None if there was nothing to thaw.
        time_limit: of the freeze, in seconds; 0 for none.

    Raises:
        OSError: EAGAIN if no process is left.
    """

    __slots__ = ("_process", "_report", "_shared")

    def __init__(
        self,
        descriptors: Sequence[int],
        thaw: Callable[[int], None],
        kept: Sequence[int],
        finish: Callable[[int | None], None],
        time_limit: float = 0.0,
    ) -> None:
        # A byte that both processes see: whether the watchdog has begun to thaw.
        shared = self._shared = mmap.mmap(-1, 1)
        reading, self._report = os.pipe2(os.O_CLOEXEC)
        agent = os.getpid()
        try:
            # A signal to the child would be written to the agent's wake-up pipe; and the child must
            # survive signals that are meant for the agent.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._process = os.fork()
                if self._process == 0:
                    _watch(agent, reading, list(descriptors), thaw, kept, finish, time_limit, shared)
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

    @property
    def has_thawed(self) -> bool:
        """Whether it has thawed at the deadline, or is about to, because the agent did not."""
        return self._shared[0] != 0

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


def _set_name() -> None:
    """Be told apart from the agent in ps(1)."""
    try:
        with open(_COMM, "wb") as file:
            file.write(_NAME)
    except OSError:
        # A sandbox may have made /proc read-only.
        pass


def _watch(
    agent: int,
    reading: int,
    descriptors: list[int],
    thaw: Callable[[int], None],
    kept: Sequence[int],
    finish: Callable[[int | None], None],
    time_limit: float,
    shared: mmap.mmap,
) -> None:
    """Be the watchdog. Never returns."""
    status = 1
    try:
        # Garbage-collected objects of the agent would close descriptor numbers that are in use again.
        gc.disable()
        os.setsid()
        close_all_but({0, 1, 2, reading, *descriptors, *kept})
        _set_name()
        reports = _listen(agent, reading, descriptors, thaw, time_limit, shared)
        thawed = None if reports.endswith(_THAWED) or not descriptors else _thaw(reports, descriptors, thaw)
        # Hooks may want to unmount them.
        for descriptor in descriptors:
            os.close(descriptor)
        _wait_for_cleanup()
        finish(thawed)
        status = 0
    finally:
        os._exit(status)


def _listen(
    agent: int,
    reading: int,
    descriptors: Sequence[int],
    thaw: Callable[[int], None],
    time_limit: float,
    shared: mmap.mmap,
) -> bytes:
    """Return what the agent has reported, after its death. At the deadline, thaw."""
    reports = b""
    deadline = monotonic() + time_limit + PATIENCE if time_limit else 0.0
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while True:
        frozen = bool(descriptors) and not reports.endswith(_THAWED)
        limits = [max(0.0, deadline - monotonic())] if deadline else []
        # Asked before the reports are read: what the agent reported before its death must be among them.
        dead = frozen and _is_dead(agent)
        limits += [0.0 if dead else _POLL_TIME] if frozen else []
        if poll.poll(min(limits) * 1000 if limits else None):
            more = os.read(reading, 4096)
            if not more:
                return reports
            reports += more
        elif dead:
            return reports
        elif deadline and monotonic() >= deadline:
            if frozen:
                shared[0] = 1
                _thaw(reports, descriptors, thaw)
            deadline = 0.0


def _is_dead(process: int) -> bool:
    """Return whether a process has ended or been killed, though threads of it may be stuck in the kernel."""
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            for line in file:
                name, _, value = line.partition(b":")
                if name == b"State" and value.split()[0] in (b"Z", b"X"):
                    return True
                # The main thread is stuck itself.
                if name == b"SigPnd" and int(value, 16) & _KILLED:
                    return True
    except (FileNotFoundError, ProcessLookupError):
        return True
    return False


def _thaw(reports: bytes, descriptors: Sequence[int], thaw: Callable[[int], None]) -> int:
    """Thaw what was reported as frozen, and the next one, which may be frozen and not reported yet.

    Each is thawed in a process of its own. One that hangs, such as that in whose freeze the agent is stuck, delays
    the others for a second only, and is thawed when the kernel returns. The order is the reverse one, because thawing
    a filesystem on a loop file writes to the filesystem that holds the file.
    """
    thawed = 0
    for number in range(min(len(reports), len(descriptors) - 1), -1, -1):
        if reports[number : number + 1] != _SKIPPED:
            thawed += _thaw_one(descriptors[number], thaw)
    return thawed


def _thaw_one(descriptor: int, thaw: Callable[[int], None]) -> bool:
    """Thaw in a child process; return whether that succeeded in time."""
    try:
        child = os.fork()
    except OSError:
        # No process is left.
        try:
            thaw(descriptor)
        except OSError:
            return False
        return True
    if child == 0:
        try:
            thaw(descriptor)
        except BaseException:
            os._exit(1)
        os._exit(0)
    deadline = monotonic() + _THAW_TIME
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        rest = deadline - monotonic()
        # All signals are blocked. One of an earlier child may be pending.
        if rest <= 0 or signal.sigtimedwait((signal.SIGCHLD,), rest) is None:
            return False


def _wait_for_cleanup() -> None:
    # A hook that started earlier would be killed by systemd, too.
    signal.sigtimedwait((signal.SIGTERM,), _CLEANUP_TIME)
