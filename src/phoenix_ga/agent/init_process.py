"""Serving as PID 1, such as in a container: the agent runs in a child, and this process does what init(8) does."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_below_init(run: Callable[[], int], run_directory: str) -> int:
    """Run the agent, and return its exit status. If this process is PID 1, run it in a child.

    PID 1 reaps orphans, which nobody else would, and passes on signals, which the kernel drops while it has no
    handler. When it ends, the kernel kills all other processes of the container: it waits for one that has
    filesystems to thaw.
    """
    if os.getpid() != 1:
        return run()
    # Until the handlers are there, a signal must neither be lost nor be handled in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return run()
    for number in _FORWARDED:
        signal.signal(number, lambda received, frame: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    pid = 0
    while pid != child:
        pid, status = os.wait()
    _wait_for_thaw(run_directory)
    # As a shell reports a signal.
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _wait_for_thaw(run_directory: str) -> None:
    """Wait while a process holds the lock on the run directory, which says that it has filesystems to thaw."""
    try:
        fd = os.open(run_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    flock(fd, LOCK_EX)
    os.close(fd)
