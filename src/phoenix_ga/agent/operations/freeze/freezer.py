"""Freezing every local filesystem, and thawing all of them in every case.

After the first filesystem is frozen, nothing is read from a disk until all are thawed: the modules are imported,
the mount points are open, the state is on a tmpfs, and log lines wait (whoever writes the log may be blocked
by a frozen filesystem).

The lock `_operation` is held by the freeze or thaw in progress, hooks included, also while a freeze is stuck in
the kernel. `frozen` needs no lock, and a thaw can still thaw what the freeze has frozen so far, which may be what
the kernel waits for.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

from phoenix_ga.agent.linux.freeze import FreezeBackend
from phoenix_ga.agent.linux.threads import start_thread
from phoenix_ga.agent.operations.freeze.deadline import Deadline
from phoenix_ga.agent.operations.freeze.hooks import HookError, Hooks
from phoenix_ga.agent.operations.freeze.marker import Marker
from phoenix_ga.agent.operations.freeze.state import RUN_DIRECTORY, FreezeState
from phoenix_ga.agent.operations.freeze.sync import BoundedSync
from phoenix_ga.agent.operations.freeze.targets import close_targets, freeze_target, open_frozen, open_targets
from phoenix_ga.agent.operations.freeze.thaw_list import ThawList
from phoenix_ga.agent.operations.freeze.watchdog import Watchdog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Final

    from phoenix_ga.agent.operations.freeze.targets import Target

# Seconds that a thaw waits for a freeze that is stuck in the kernel, before it answers.
CANCEL_TIME_LIMIT: Final = 30.0

# How the last freeze ended: by a thaw, by its deadline, or by the agent's death.
THAWED: Final = "thawed"
EXPIRED: Final = "deadline"
DIED: Final = "died"


class Freezer:
    """Freezes and thaws for this agent. Any thread may call any method.

    Args:
        log: takes a line of text; never called while this object has filesystems frozen.
        run_directory: created with mode 0700 if missing; must be on a tmpfs, which is never frozen.
        backend: replaces the kernel in tests.
        hold: called before anything is frozen, to stop all writing to the log.
        release: called after everything is thawed.
        child_log: takes a line of text in a forked process, where `log` may not work.
        marker: the path of a file that exists while something is frozen; empty for none.

    Attributes:
        time_limit: default deadline of a freeze in seconds; 0 for none.
        hooks: what runs before and after.
        ended: how the last freeze ended; empty if there was none, or while one lasts.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        run_directory: str = RUN_DIRECTORY,
        backend: FreezeBackend | None = None,
        hold: Callable[[], None] = lambda: None,
        release: Callable[[], None] = lambda: None,
        child_log: Callable[[str], None] = lambda text: None,
        marker: str = "",
    ) -> None:
        self._log = log
        self._child_log = child_log
        self._marker = Marker(marker)
        self._hold = hold
        self._release = release
        self._state = FreezeState(run_directory)
        self._backend = FreezeBackend() if backend is None else backend
        self._sync = BoundedSync(lambda: self._backend.sync())
        self.time_limit = 0.0
        self.hooks = Hooks(lambda text: self._log(text), self._save_hooks)
        self.ended = ""
        self._deadline: Deadline | None = None
        self._watchdog: Watchdog | None = None
        self._frozen = False
        # Numbers freezes, so that none is cancelled or thawed in place of another.
        self._freeze_number = 0
        self._cancelled = 0
        self._revoked: Callable[[], bool] = lambda: False
        # Log lines for after the thaw.
        self._notes: list[str] = []
        self._thaw_list = ThawList(self._backend, self._note)
        self._operation = allocate_lock()

    @property
    def frozen(self) -> bool:
        """True from before the first filesystem is frozen until all are thawed. Never blocks."""
        return self._frozen

    @property
    def has_work_left(self) -> bool:
        """Whether something is frozen, or hooks must still run with `thaw`. Never blocks."""
        return self._frozen or self.hooks.pending_thaw

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline; None if there is none. Never blocks."""
        deadline = self._deadline
        return None if deadline is None else deadline.remaining

    def freeze(
        self,
        points: Collection[str] | None = None,
        time_limit: float | None = None,
        revoked: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """Freeze every local filesystem that can be frozen; return the mount points, in that order.

        A filesystem that does not support freezing, or that somebody else froze, is skipped and logged. If
        there is nothing to freeze, no hook runs, and `frozen` stays False.

        Args:
            points: freeze only the filesystems mounted at these paths; other paths are ignored.
            time_limit: the deadline in seconds, in place of the default; 0 for none.
            revoked: returns whether nobody wants the freeze any more; asked until all is frozen.

        Raises:
            OSError: nothing stays frozen, unless the text says so. EBUSY: a freeze or thaw is in progress, or
                filesystems are frozen; ECANCELED: a thaw cancelled the freeze, or it was revoked; EINVAL: the run
                directory would be frozen; ENOENT or ETIMEDOUT: a filesystem that other mounts hide cannot be opened;
                EAGAIN: no thread or process is left.
            HookError: a hook cannot run, or failed.
        """
        if not self._operation.acquire(False):
            raise OSError(errno.EBUSY, "filesystems are being frozen or thawed")
        try:
            if self._frozen:
                raise OSError(errno.EBUSY, "filesystems are already frozen")
            self._freeze_number += 1
            self._revoked = revoked
            self._raise_if_cancelled()
            self.ended = ""
            programs = self.hooks.programs()
            if programs and not self._run_hooks(programs, points):
                return []
            self._hold()
            pending = open_targets(self._backend, self._state, points)
            if not pending:
                return []
            try:
                self._note(self._sync.run())
                self._raise_if_cancelled()
                return self._freeze(pending, self.time_limit if time_limit is None else time_limit)
            finally:
                close_targets(pending)
        finally:
            self._end_operation()

    def thaw(self) -> int:
        """Thaw what was frozen, in reverse order; return the number of filesystems. Cancels a freeze in progress.

        Raises:
            OSError: a filesystem could not be thawed: the others are, `frozen` stays True, and another call
                tries again. EBUSY: a freeze is stuck in the kernel; what it had frozen is thawed, and the
                filesystem in which it is stuck will be as soon as the kernel returns.
            HookError: everything is thawed, and a hook failed.
        """
        return self._thaw(self._freeze_number)

    def _thaw(self, freeze_number: int, expired: str = "") -> int:
        """Thaw as `thaw` does. expired: set by a deadline, which thaws only the freeze of this number."""
        thawed = 0
        if not self._operation.acquire(False):
            # First the number, then the list: a freeze appends to the list, then checks the number.
            self._cancelled = freeze_number
            if self._freeze_number == freeze_number:
                thawed = self._thaw_list.help_thaw()
            if not self._operation.acquire(True, CANCEL_TIME_LIMIT):
                if not self._frozen:
                    raise OSError(errno.EBUSY, "hooks are still running")
                raise OSError(
                    errno.EBUSY,
                    f"a freeze is stuck in the kernel; {thawed} filesystems that it had frozen are thawed",
                )
        failure: HookError | None = None
        try:
            if not expired or self._freeze_number == freeze_number:
                was_frozen = self._frozen
                thawed += self._thaw_list.thaw()
                self._finish_thaw()
                if was_frozen:
                    self.ended = EXPIRED if expired else THAWED
                    if expired:
                        self._note(f"{expired}: the deadline thawed {thawed} filesystems")
        finally:
            failure = self._end_operation()
        if failure is not None:
            raise failure
        return thawed

    def recover(self) -> int:
        """Thaw what an agent that died left frozen, and log it; return the number of filesystems.

        Must be called once, before any request is served. If something could not be thawed, `frozen` is True
        afterwards, so that `thaw` can try again. The same holds if only a marker is found: then it is unknown
        what is frozen, and `thaw` thaws every local filesystem. Pending hooks run on a thread of their own.
        """
        self._operation.acquire()
        pending_hooks: list[str] = []
        thawed = 0
        try:
            pending_hooks = self._state.hooks_left_behind()
            devices = self._state.left_behind()
            rescued = self._state.was_rescued()
            if devices or rescued:
                self._hold()
                self.ended = DIED
                self._thaw_list.adopt(open_frozen(self._backend, devices, self._note))
                self._frozen = True
                thawed = self._thaw_list.thaw()
                who = f"thawed {thawed}" if devices else "its watchdog thawed them"
                self._note(f"an agent that died left filesystems frozen: {who}")
                self._finish_thaw()
            elif self._marker.exists:
                self._adopt()
        except OSError as error:
            self._note(f"cannot thaw what an agent that died left frozen: {error.strerror}")
        finally:
            self._end_operation()
        if pending_hooks:
            try:
                start_thread(lambda: self._run_pending_thaw_hooks(pending_hooks), "the pending hooks")
            except OSError as error:
                self._log(f"hooks of an agent that died did not run: {error.strerror}")
        return thawed

    def _run_pending_thaw_hooks(self, programs: Sequence[str]) -> None:
        """Run the hooks that a dead agent left, unless its watchdog does."""
        with self._operation:
            try:
                self._state.open()
            except OSError:
                return
            self.hooks.adopt(programs)
            if not self._frozen:
                self.hooks.thaw()
                self._state.close()

    def _adopt(self) -> None:
        """Treat all filesystems as frozen, as another program left them, until a thaw or the deadline."""
        self._hold()
        self._thaw_list.adopt(open_targets(self._backend, self._state, None))
        self._thaw_list.adopted = self._frozen = True
        self._freeze_number += 1
        self._note(f"{self._marker.path} says that filesystems were left frozen: most commands wait for a thaw")
        self._start_deadline(self.time_limit)

    def _run_hooks(self, programs: list[str], points: Collection[str] | None) -> bool:
        """Run hooks before a freeze; return False, without running them, if there is nothing to freeze."""
        targets = open_targets(self._backend, self._state, points)
        close_targets(targets)
        if targets:
            self._watchdog = self._start_watchdog((), 0.0)
            try:
                self.hooks.freeze(programs, lambda: self._cancelled == self._freeze_number)
            except OSError:
                self._raise_if_cancelled()
                raise
            self._raise_if_cancelled()
        return bool(targets)

    def _freeze(self, pending: list[Target], time_limit: float) -> list[str]:
        """Freeze all, removing them from `pending`; if one fails, thaw all."""
        listed = [(target.device, target.point) for target in pending]
        points: list[str] = []
        self._frozen = True
        try:
            self._state.write(listed)
            self._note(self._marker.create())
            watchdog = self._start_watchdog([target.descriptor for target in pending], time_limit)
            self._end_watchdog()
            self._watchdog = watchdog
            self._start_deadline(time_limit)
            while pending:
                target = pending[0]
                skipped = freeze_target(self._backend, target)
                self._note(skipped)
                watchdog.note(not skipped)
                if not skipped:
                    points.append(target.point)
                    self._thaw_list.append(pending.pop(0))
                else:
                    os.close(pending.pop(0).descriptor)
                    # The next agent must not thaw it.
                    listed.remove((target.device, target.point))
                    self._state.write(listed)
                self._raise_if_cancelled()
            if not points:
                self._finish_thaw()
            return points
        except OSError as error:
            self._thaw_list.thaw()
            try:
                self._finish_thaw()
            except OSError as failure:
                raise OSError(error.errno, f"{error.strerror}; {failure.strerror}") from error
            raise OSError(error.errno, f"{error.strerror}; what was frozen has been thawed") from error
        except BaseException:
            self._thaw_list.thaw()
            self._finish_thaw()
            raise

    def _note(self, line: str) -> None:
        """Log a line after the thaw."""
        if line:
            self._notes.append(line)

    def _start_watchdog(self, descriptors: Sequence[int], time_limit: float) -> Watchdog:
        return Watchdog(descriptors, self._backend.thaw, (self._state.open(),), self._rescue, time_limit)

    def _end_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.end()
            self._watchdog = None

    def _rescue(self, thawed: int | None) -> None:
        """In the watchdog of a dead agent, after the thaw: finish the agent's work."""
        self._log = self._child_log
        if thawed is not None:
            self._state.note_rescue()
            self._marker.remove()
            self._log(f"the agent died while filesystems were frozen: thawed {thawed}")
        self.hooks.adopt(self._state.hooks_left_behind(is_dead=True))
        self.hooks.thaw()

    def _start_deadline(self, time_limit: float) -> None:
        if time_limit:
            number = self._freeze_number
            self._deadline = Deadline(time_limit, lambda: self._expire(number, time_limit))

    def _expire(self, freeze_number: int, time_limit: float) -> bool:
        """Thaw at the deadline; return whether that succeeded."""
        try:
            self._thaw(freeze_number, f"nobody thawed for {time_limit:g} seconds")
        except HookError:
            return True
        except OSError:
            # It cannot be logged while anything is frozen; the next thaw reports it.
            return False
        return True

    def _raise_if_cancelled(self) -> None:
        if self._cancelled == self._freeze_number:
            raise OSError(errno.ECANCELED, "the freeze was cancelled by a thaw")
        if self._revoked():
            raise OSError(errno.ECANCELED, "the freeze was called off: its client has left, or sent a thaw since")

    def _finish_thaw(self) -> None:
        """End the frozen state. Raises OSError if something is still frozen, and keeps that on the list."""
        self._thaw_list.raise_failures()
        if self._frozen:
            try:
                self._state.remove()
            except OSError as error:
                self._note(f"cannot remove the state file in {self._state.directory}: {error.strerror}")
            self._note(self._marker.remove())
            deadline, self._deadline = self._deadline, None
            if deadline is not None:
                deadline.cancel()
            self._frozen = self._thaw_list.adopted = False

    def _end_operation(self) -> HookError | None:
        """Release the lock; if nothing is frozen, run the pending hooks first. Returns the hooks' failure."""
        failure = None
        try:
            if not self._frozen:
                if self._watchdog is not None:
                    self._watchdog.dismiss()
                self._release()
                notes, self._notes = self._notes, []
                for note in notes:
                    self._log(note)
                if self.hooks.pending_thaw:
                    failure = self.hooks.thaw()
                self._end_watchdog()
                self._state.close()
        finally:
            self._operation.release()
        return failure

    def _save_hooks(self, programs: Sequence[str]) -> None:
        self._state.open()
        self._state.write_hooks(programs)
