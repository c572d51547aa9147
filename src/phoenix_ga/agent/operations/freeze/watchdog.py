"""A process that thaws when the agent can't: it was killed, or does not come back from the kernel.

It is forked before anything is frozen. It holds nothing but the open mount points and the run directory:
no port, which the next agent needs, and no socket. It needs no file and no memory that is not there yet.
"""

from __future__ import annotations

import gc
import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

_NAME: Final = b"phoenix-guard"
# Seconds that an agent has after the deadline of its freeze, before the guardian thaws instead.
PATIENCE: Final = 10.0
# How long systemd may take to end what is left of an agent, in seconds: hooks are started after that.
_AFTERMATH: Final = 1.0

_FROZEN: Final = b"f"
_LEFT_OUT: Final = b"l"
_THAWED: Final = b"t"


class Guardian:
    """The guardian of one freeze. Made before it; ended after it.

    descriptors: of what is going to be frozen, in that order. thaw: thaws one, and raises OSError. kept: other
    descriptors that `finish` needs. finish: is called in the guardian, once the agent is dead, for what else is
    to be done, with how many it has thawed, or None where there was nothing to thaw. time_limit: of the freeze,
    in seconds; 0 for none. Raises OSError where there is no process for it.
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
            # A signal would be taken for the agent's own, and one that is meant for it ends nothing here.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._process = os.fork()
                if self._process == 0:
                    _guard(reading, list(descriptors), thaw, kept, finish, time_limit)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(reading)

    def note(self, frozen: bool) -> None:
        """The next of the filesystems was frozen, or was left out."""
        self._say(_FROZEN if frozen else _LEFT_OUT)

    def dismiss(self) -> None:
        """All is thawed, though hooks may still run."""
        self._say(_THAWED)

    def end(self) -> None:
        """There is nothing left that it could have to do."""
        os.close(self._report)
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def _say(self, what: bytes) -> None:
        try:
            os.write(self._report, what)
        except BrokenPipeError:
            # Somebody has killed it.
            pass


def _guard(
    reading: int,
    descriptors: list[int],
    thaw: Callable[[int], None],
    kept: Sequence[int],
    finish: Callable[[int | None], None],
    time_limit: float,
) -> None:
    """Be the guardian. Never returns."""
    status = 1
    try:
        # Objects of the agent that are collected would close numbers that are others' by now.
        gc.disable()
        os.setsid()
        _close_all_but({0, 1, 2, reading, *descriptors, *kept})
        with open("/proc/self/comm", "wb") as file:
            file.write(_NAME)
        said = _listen(reading, descriptors, thaw, time_limit)
        thawed = None if said.endswith(_THAWED) or not descriptors else _thaw(said, descriptors, thaw)
        # Somebody may want to unmount them.
        for descriptor in descriptors:
            os.close(descriptor)
        _wait_for_the_end_of_others()
        finish(thawed)
        status = 0
    finally:
        os._exit(status)


def _listen(reading: int, descriptors: Sequence[int], thaw: Callable[[int], None], time_limit: float) -> bytes:
    """Return what the agent has said, once it is dead. At the deadline, thaw."""
    said = b""
    due = monotonic() + time_limit + PATIENCE if time_limit else 0.0
    news = select.poll()
    news.register(reading, select.POLLIN)
    while True:
        if not news.poll(max(0.0, due - monotonic()) * 1000 if due else None):
            if not said.endswith(_THAWED):
                _thaw(said, descriptors, thaw)
            due = 0.0
            continue
        more = os.read(reading, 4096)
        if not more:
            return said
        said += more


def _thaw(said: bytes, descriptors: Sequence[int], thaw: Callable[[int], None]) -> int:
    """Thaw what the agent said that it froze, and what it may have frozen before it could say so; return how many."""
    thawed = 0
    for number in range(min(len(said), len(descriptors) - 1), -1, -1):
        if said[number : number + 1] != _LEFT_OUT:
            try:
                thaw(descriptors[number])
                thawed += 1
            except OSError:
                continue
    return thawed


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue


def _wait_for_the_end_of_others() -> None:
    # systemd ends all processes of a service whose main one died: a hook that ran already would be ended too.
    signal.sigtimedwait((signal.SIGTERM,), _AFTERMATH)
