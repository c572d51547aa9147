"""Hooks: programs that run before filesystems are frozen, and after they are thawed.

A hook gets one argument, `freeze` or `thaw`, as qemu-ga's does. Each hook that ran with `freeze`, however that
ended, must run with `thaw`. The run directory lists those hooks before they start, so that they run even if
the agent dies.
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

    from phoenix_ga.agent.operations.processes import ChildProcess
else:
    # The module `signal` would load `enum`.
    import _signal as signal

TIME_LIMIT: Final = 60.0
FREEZE: Final = "freeze"
THAW: Final = "thaw"

# All variables of a hook's environment.
_ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
)
# What editors and package managers leave beside a program.
_LEFTOVERS: Final = (".bak", ".bk", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".sample", ".swp", "~")
# Seconds between checks of a running hook, and between SIGTERM and SIGKILL.
_CHECK_INTERVAL: Final = 0.1
_GRACE: Final = 2.0
# What is logged of one run; the rest is read and dropped.
_LINES_MAX: Final = 100
_LINE_MAX: Final = 500
_READ_SIZE: Final = 16 * 1024


class HookError(OSError):
    """A hook could not run, or failed. The text is qemu-ga's, if qemu-ga has one for the case."""


class Hooks:
    """Runs the hooks, one after the other, on the caller's thread.

    Args:
        log: takes a line of text.
        save: stores the hooks that must run with `thaw`, before one starts and after one has ended; raises
            OSError if it cannot.
        paths: programs, and directories of programs.
        time_limit: for each run of each hook, in seconds; 0 for none.

    Attributes:
        optional: the one of `paths` that need not exist.
    """

    __slots__ = ("_log", "_pending_thaw", "_save", "optional", "paths", "time_limit")

    def __init__(
        self,
        log: Callable[[str], None],
        save: Callable[[Sequence[str]], None],
        paths: Sequence[str] = (),
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._log = log
        self._save = save
        self.paths = paths
        self.optional = ""
        self.time_limit = time_limit
        self._pending_thaw: list[str] = []

    @property
    def pending_thaw(self) -> bool:
        """Whether a hook has run with `freeze`, and not with `thaw` since."""
        return bool(self._pending_thaw)

    def programs(self) -> list[str]:
        """Return the hooks in the order in which they run; of a directory, sorted by name.

        Raises:
            HookError: if one does not exist, or if it or its directory is writable by others than root and
                the agent's own user.
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
                if path == self.optional and error.errno == errno.ENOENT:
                    continue
                raise _inaccessible(path, error) from None
        return found

    def freeze(self, programs: Sequence[str], cancelled: Callable[[], bool]) -> None:
        """Run hooks with `freeze`, up to the first that fails.

        Args:
            cancelled: called repeatedly; once it returns True, the running hook is terminated.

        Raises:
            HookError: if a hook fails.
            OSError: if `save` fails.
        """
        for program in programs:
            if cancelled():
                return
            self._pending_thaw.append(program)
            self._save(self._pending_thaw)
            self._run(program, FREEZE, cancelled)

    def thaw(self) -> HookError | None:
        """Run all pending hooks with `thaw`, in reverse order; return the first failure."""
        failure: HookError | None = None
        while self._pending_thaw:
            try:
                self._run(self._pending_thaw[-1], THAW, lambda: False)
            except HookError as error:
                self._log(f"{self._pending_thaw[-1]}: {error.strerror}")
                failure = failure or error
            self._pending_thaw.pop()
            try:
                self._save(self._pending_thaw)
            except OSError as error:
                self._log(f"cannot save which hooks must still run: {error.strerror}")
        return failure

    def adopt(self, pending_thaw: Sequence[str]) -> None:
        """Take over the pending hooks of an agent that died."""
        self._pending_thaw = list(pending_thaw)

    def _run(self, program: str, argument: str, cancelled: Callable[[], bool]) -> None:
        # An agent without hooks need not load this.
        from phoenix_ga.agent.operations.processes import spawn_bare

        self._log(f"running {program} {argument}")
        try:
            _checked_mode(program)
            child = spawn_bare(program, [argument], _ENVIRONMENT, False, "merged", (), "/")
        except HookError:
            raise
        except OSError as error:
            raise _inaccessible(program, error) from None
        try:
            output = _Output(self._log, program, child.stdout)
            status, timed_out = self._wait(child, output, cancelled)
            output.end()
        finally:
            os.close(child.stdout)
        if timed_out:
            text = f"fsfreeze hook took more than {self.time_limit:g} seconds, and was terminated"
            raise HookError(errno.ETIMEDOUT, text, program)
        if not os.WIFEXITED(status):
            raise HookError(errno.ECHILD, "fsfreeze hook has terminated abnormally", program)
        if os.WEXITSTATUS(status):
            raise HookError(errno.ECHILD, f"fsfreeze hook has failed with status {os.WEXITSTATUS(status)}", program)

    def _wait(self, child: ChildProcess, output: _Output, cancelled: Callable[[], bool]) -> tuple[int, bool]:
        """Read the output of a hook until it has ended; return its wait status, and whether it timed out."""
        deadline = monotonic() + self.time_limit if self.time_limit else 0.0
        timed_out = False
        terminated = 0.0
        while True:
            output.read(_CHECK_INTERVAL)
            # WNOWAIT: the process ID cannot be reused before the rest of its group has been killed.
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                if terminated:
                    _signal_group(child.pid, signal.SIGKILL)
                return os.waitpid(child.pid, 0)[1], timed_out
            now = monotonic()
            if terminated:
                if now >= terminated + _GRACE:
                    _signal_group(child.pid, signal.SIGKILL)
                if now >= terminated + 2 * _GRACE:
                    # It is stuck in the kernel. Nobody will wait for it.
                    return signal.SIGKILL, timed_out
            elif cancelled() or (deadline and now >= deadline):
                timed_out = not cancelled()
                terminated = now
                _signal_group(child.pid, signal.SIGTERM)


class _Output:
    """The output of one run of a hook, as lines of the log."""

    __slots__ = ("_descriptor", "_dropped", "_ended", "_lines", "_log", "_partial", "_poll", "_prefix")

    def __init__(self, log: Callable[[str], None], program: str, descriptor: int) -> None:
        self._log = log
        self._prefix = f"{program}: "
        self._descriptor = descriptor
        self._partial = b""
        self._lines = 0
        self._dropped = 0
        self._ended = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, seconds: float) -> None:
        """Wait `seconds` for output, and log it."""
        if self._ended:
            # The hook closed its output, and is still running.
            select.select((), (), (), seconds)
        elif self._poll.poll(seconds * 1000):
            self._read()

    def end(self) -> None:
        """Log what is left, though other processes may still hold the pipe."""
        while not self._ended and self._poll.poll(0) and self._dropped < _READ_SIZE:
            self._read()
        if self._partial:
            self._log_line(self._partial)
        if self._dropped:
            self._log(f"{self._prefix}{self._dropped} more bytes, not shown")

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            self._ended = True
        if self._lines >= _LINES_MAX:
            self._dropped += len(data)
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._log_line(line)
        if len(self._partial) > _LINE_MAX:
            self._log_line(self._partial)
            self._partial = b""

    def _log_line(self, line: bytes) -> None:
        if self._lines >= _LINES_MAX:
            self._dropped += len(line) + 1
        elif line:
            self._lines += 1
            self._log(self._prefix + line[:_LINE_MAX].decode("utf-8", "backslashreplace"))


def _checked_mode(path: str) -> int:
    """Return the mode of a file that only root and the agent's own user can change. Raises HookError, OSError."""
    status = os.stat(path)
    others = stat.S_IWOTH if status.st_gid == 0 else stat.S_IWOTH | stat.S_IWGRP
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & others:
        raise HookError(errno.EPERM, f"fsfreeze hook '{path}' is not run: others than root can change it")
    return status.st_mode


def _inaccessible(path: str, error: OSError) -> HookError:
    return HookError(error.errno, f"can't access fsfreeze hook '{path}': {error.strerror}")


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass
