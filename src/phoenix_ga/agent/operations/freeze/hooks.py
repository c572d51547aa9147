"""Programs of the guest's owner that run before filesystems are frozen, and after they are thawed.

A hook gets one argument, `freeze` or `thaw`, as qemu-ga's does. What ran with `freeze`, however that
ended, is owed a `thaw`: what is owed stands in the run directory before the program starts, so that
it is paid also where the agent dies.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import Final

    from phoenix_ga.agent.operations.processes import Spawned
else:
    # The module `signal` would load `enum`.
    import _signal as signal

TIME_LIMIT: Final = 60.0
FREEZE: Final = "freeze"
THAW: Final = "thaw"

# All the variables that a hook has.
_ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
)
# What editors and package managers leave beside a program.
_LEFTOVERS: Final = (".bak", ".bk", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".sample", ".swp", "~")
# How often a hook is looked at, and how long it has to end when it was asked to, in seconds.
_LOOK_TIME: Final = 0.1
_GRACE: Final = 2.0
# What is logged of one run; the rest is read and dropped.
_LINES_MAX: Final = 100
_LINE_MAX: Final = 500
_READ_SIZE: Final = 16 * 1024


class HookError(OSError):
    """A hook that can't be run, or did not do its work. The text is that of qemu-ga, where it has one."""


class Hooks:
    """Runs the hooks, one after the other, on the thread that asks.

    log: takes a line of text. keep: takes the hooks that are owed a thaw, before one starts and after
    one has ended; raises OSError where that can't be kept. paths: programs, and directories of
    programs. optional: the one of them that need not be there. time_limit: for each run of each hook, in
    seconds; 0 for none.
    """

    __slots__ = ("_keep", "_log", "_owed", "optional", "paths", "time_limit")

    def __init__(
        self,
        log: Callable[[str], None],
        keep: Callable[[Sequence[str]], None],
        paths: Sequence[str] = (),
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._log = log
        self._keep = keep
        self.paths = paths
        self.optional = ""
        self.time_limit = time_limit
        self._owed: list[str] = []

    @property
    def owed(self) -> bool:
        """Whether a hook ran with `freeze` and not with `thaw` since."""
        return bool(self._owed)

    def programs(self) -> list[str]:
        """Return the hooks, in the order in which they run.

        Of a directory, its programs in the order of their names. Raises HookError where one is not there
        or may be written by others than root and the agent's own user, or is in such a directory.
        """
        found = []
        for path in self.paths:
            try:
                mode = _checked_mode(path)
                if not stat.S_ISDIR(mode):
                    if not os.access(path, os.X_OK):
                        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
                    found.append(path)
                    continue
                for name in sorted(os.listdir(path)):
                    program = f"{path}/{name}"
                    if name[0] != "." and not name.endswith(_LEFTOVERS) and ".dpkg-" not in name:
                        mode = _checked_mode(program)
                        if stat.S_ISREG(mode) and mode & 0o111:
                            found.append(program)
            except HookError:
                raise
            except OSError as error:
                # Nobody has to have any.
                if path == self.optional and error.errno == errno.ENOENT:
                    continue
                raise _inaccessible(path, error) from None
        return found

    def freeze(self, programs: Sequence[str], cancelled: Callable[[], bool]) -> None:
        """Run hooks with `freeze`, up to the first that fails.

        cancelled: asked again and again; where it is true, the hook at work is ended. Raises HookError,
        and OSError where it can't be kept what is owed.
        """
        for program in programs:
            if cancelled():
                return
            self._owed.append(program)
            self._keep(self._owed)
            self._run(program, FREEZE, cancelled)

    def thaw(self) -> None:
        """Run with `thaw` what is owed it, the last first. Raises HookError for the first that fails, after all."""
        failure: HookError | None = None
        while self._owed:
            try:
                self._run(self._owed[-1], THAW, lambda: False)
            except HookError as error:
                self._log(f"{self._owed[-1]}: {error.strerror}")
                failure = failure or error
            self._owed.pop()
            try:
                self._keep(self._owed)
            except OSError as error:
                self._log(f"cannot keep which hooks are due: {error.strerror}")
        if failure is not None:
            raise failure

    def inherit(self, owed: Sequence[str]) -> None:
        """Take over what an agent that died has left."""
        self._owed = list(owed)

    def _run(self, program: str, word: str, cancelled: Callable[[], bool]) -> None:
        # Only who has hooks needs to know how to run programs.
        from phoenix_ga.agent.operations.processes import spawn_bare

        self._log(f"running {program} {word}")
        try:
            _checked_mode(program)
            spawned = spawn_bare(program, [word], _ENVIRONMENT, False, "merged", (), "/")
        except HookError:
            raise
        except OSError as error:
            raise _inaccessible(program, error) from None
        try:
            output = _Output(self._log, program, spawned.stdout)
            status, late = self._wait(spawned, output, cancelled)
            output.end()
        finally:
            os.close(spawned.stdout)
        if late:
            text = f"fsfreeze hook took more than {self.time_limit:g} seconds, and was ended"
            raise HookError(errno.ETIMEDOUT, text, program)
        if not os.WIFEXITED(status):
            raise HookError(errno.ECHILD, "fsfreeze hook has terminated abnormally", program)
        if os.WEXITSTATUS(status):
            raise HookError(errno.ECHILD, f"fsfreeze hook has failed with status {os.WEXITSTATUS(status)}", program)

    def _wait(self, spawned: Spawned, output: _Output, cancelled: Callable[[], bool]) -> tuple[int, bool]:
        """Read what the hook says until it has ended; return its status, and whether it took too long."""
        due = monotonic() + self.time_limit if self.time_limit else 0.0
        late = False
        asked = 0.0
        while True:
            output.read(_LOOK_TIME)
            # It is not waited for yet: nobody else can get its number while the rest of its group is ended.
            if os.waitid(os.P_PID, spawned.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                if asked:
                    _signal_group(spawned.pid, signal.SIGKILL)
                return os.waitpid(spawned.pid, 0)[1], late
            now = monotonic()
            if asked:
                if now >= asked + _GRACE:
                    _signal_group(spawned.pid, signal.SIGKILL)
                if now >= asked + 2 * _GRACE:
                    # It is stuck in the kernel. Its exit will be nobody's business.
                    return signal.SIGKILL, late
            elif cancelled() or (due and now >= due):
                late = not cancelled()
                asked = now
                _signal_group(spawned.pid, signal.SIGTERM)


class _Output:
    """What one run of a hook says, as lines of the log."""

    __slots__ = ("_descriptor", "_dropped", "_ended", "_lines", "_log", "_part", "_poll", "_start")

    def __init__(self, log: Callable[[str], None], program: str, descriptor: int) -> None:
        self._log = log
        self._start = f"{program}: "
        self._descriptor = descriptor
        self._part = b""
        self._lines = 0
        self._dropped = 0
        self._ended = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, seconds: float) -> None:
        """Wait so long for something to be said, and take it."""
        if self._ended:
            # It closed its output, and goes on.
            select.select((), (), (), seconds)
        elif self._poll.poll(seconds * 1000):
            self._take()

    def end(self) -> None:
        """Take what is left, though others may still have the pipe open."""
        while not self._ended and self._poll.poll(0) and self._dropped < _READ_SIZE:
            self._take()
        if self._part:
            self._line(self._part)
        if self._dropped:
            self._log(f"{self._start}{self._dropped} more bytes, not shown")

    def _take(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            self._ended = True
        if self._lines >= _LINES_MAX:
            self._dropped += len(data)
            return
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._part) > _LINE_MAX:
            self._line(self._part)
            self._part = b""

    def _line(self, line: bytes) -> None:
        if self._lines >= _LINES_MAX:
            self._dropped += len(line) + 1
        elif line:
            self._lines += 1
            self._log(self._start + line[:_LINE_MAX].decode("utf-8", "backslashreplace"))


def _checked_mode(path: str) -> int:
    """Return the mode of a file that only root and the agent's own user may change. Raises HookError, OSError."""
    status = os.stat(path)
    others = stat.S_IWOTH if status.st_gid == 0 else stat.S_IWOTH | stat.S_IWGRP
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & others:
        raise HookError(errno.EPERM, f"fsfreeze hook '{path}' is not run: others than root may change it")
    return status.st_mode


def _inaccessible(path: str, error: OSError) -> HookError:
    return HookError(error.errno, f"can't access fsfreeze hook '{path}': {error.strerror}")


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass
