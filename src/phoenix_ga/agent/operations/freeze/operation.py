"""Freezing every local filesystem, and thawing all of them, whatever happens meanwhile.

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
from time import monotonic

from phoenix_ga.agent.linux.freeze import FreezeBackend
from phoenix_ga.agent.operations.freeze.attempt import Attempt
from phoenix_ga.agent.operations.freeze.deadline import Deadline
from phoenix_ga.agent.operations.freeze.hooks import HookError, Hooks
from phoenix_ga.agent.operations.freeze.marker import Marker
from phoenix_ga.agent.operations.freeze.record import EXPIRED, RELEASED, THAWED, FreezeRecord
from phoenix_ga.agent.operations.freeze.state import RUN_DIRECTORY, FreezeState
from phoenix_ga.agent.operations.freeze.targets import REASONS, Selection, close_targets, freeze_target, open_targets
from phoenix_ga.agent.operations.freeze.thaw_list import ThawList
from phoenix_ga.agent.operations.freeze.watchdog import Watchdog
from phoenix_ga.agent.operations.freeze.write_back import WriteBack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Final

    from phoenix_ga.agent.operations.freeze.targets import Target

# Seconds that a thaw waits for a freeze that is stuck in the kernel, before it answers.
CANCEL_TIME_LIMIT: Final = 30.0


class FreezeOperations:
    """Freezes and thaws. Any thread may call any method.

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
        record: what is known of the last freeze.
        changed: called with the record when everything is frozen or thawed, and whether the deadline did that.
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
        self._write_back = WriteBack(self._backend)
        self.time_limit = 0.0
        self.hooks = Hooks(lambda text: self._log(text), self._save_hooks)
        self.record = FreezeRecord()
        self.changed: Callable[[FreezeRecord, bool], None] = lambda record, expired: None
        self._deadline: Deadline | None = None
        self._watchdog: Watchdog | None = None
        self._frozen = False
        # Numbers freezes, so that none is cancelled or thawed in place of another.
        self._freeze_number = 0
        self._cancelled = 0
        self._revoked: Callable[[], bool] = lambda: False
        # The kernel does not return from an attempt to freeze, and nobody waits for it.
        self._abandoned = False
        # Log lines for after the thaw.
        self._notes: list[str] = []
        self._thaw_list = ThawList(self._backend)
        self._operation = allocate_lock()

    def freeze_recorded(
        self,
        points: Collection[str] | None = None,
        time_limit: float | None = None,
        revoked: Callable[[], bool] = lambda: False,
        strict: bool = False,
    ) -> FreezeRecord:
        """Freeze every local filesystem that can be frozen; return the record of that.

        A filesystem that does not support freezing, or that somebody else froze, is skipped and logged. If
        there is nothing to freeze, no hook runs, and `frozen` stays False.

        Args:
            points: freeze only the filesystems mounted at these paths; other paths are ignored.
            time_limit: the deadline in seconds, in place of the default; 0 for none.
            revoked: returns whether nobody wants the freeze any more; asked until all is frozen.
            strict: fail if one of `points` is not the mount point of a filesystem that can be frozen.

        Raises:
            OSError: nothing stays frozen, unless the text says so. EBUSY: a freeze or thaw is in progress, or
                filesystems are frozen; ECANCELED: a thaw cancelled the freeze, or it was revoked; EINVAL: the run
                directory would be frozen, or a mount point is wrong; ENOENT or ETIMEDOUT: a filesystem that other
                mounts hide cannot be opened; ETIMEDOUT: the kernel does not freeze one in time; EAGAIN: no thread or
                process is left.
            HookError: a hook cannot run, or failed.
        """
        if not self._operation.acquire(False):
            raise OSError(errno.EBUSY, "filesystems are being frozen or thawed")
        if self._frozen:
            self._operation.release()
            raise OSError(errno.EBUSY, "filesystems are already frozen")
        number = self._freeze_number = self._freeze_number + 1
        self._revoked = revoked
        record = self.record = FreezeRecord()
        selection = Selection(points, strict)
        limit = self.time_limit if time_limit is None else time_limit
        attempt = Attempt(lambda attempt: self._freeze_selection(selection, limit, attempt))
        try:
            attempt.start()
        except OSError:
            self._operation.release()
            raise
        while stuck := attempt.wait():
            self._cancelled = number
            # Else the kernel has returned just now.
            if attempt.entered == stuck:
                # The attempt goes on until the kernel returns, and thaws then.
                self._abandoned = True
                thawed = self._thaw_list.help_thaw()
                raise OSError(
                    errno.ETIMEDOUT,
                    f"cannot freeze {stuck[0]}: its device does not answer, and the kernel waits for it; thawed "
                    f"{thawed} others, and thawing it when the kernel returns",
                )
        return record

    def _freeze_selection(self, selection: Selection, time_limit: float, attempt: Attempt) -> None:
        """Do what `freeze_recorded` does, holding the lock, and release that."""
        record = self.record
        try:
            self._raise_if_cancelled()
            programs = self.hooks.programs()
            if programs and not self._run_hooks(programs, selection):
                return
            self._hold()
            pending = open_targets(self._backend, self._state, selection)
            if not pending:
                return
            try:
                record.stage = "write-back"
                self._note(self._write_back.run(pending, self._is_unwanted))
                self._raise_if_cancelled()
                self._freeze(pending, time_limit, attempt)
            finally:
                close_targets(pending)
        finally:
            if not self._frozen:
                self.record = FreezeRecord()
            self._end_operation()

    def thaw(self, generation: str = "") -> int:
        """Thaw what was frozen, in reverse order; return the number of filesystems. Cancels a freeze in progress.

        Args:
            generation: thaw this freeze only, and fail if it has not held until now. If an earlier call with the same
                generation has thawed it, this one succeeds as well. Does not cancel a freeze in progress.

        Raises:
            OSError: a filesystem could not be thawed: the others are, `frozen` stays True, and another call
                tries again. EBUSY: a freeze is stuck in the kernel; what it had frozen is thawed, and the
                filesystem in which it is stuck will be as soon as the kernel returns. ESTALE: the freeze of this
                generation did not hold.
            HookError: everything is thawed, and a hook failed.
        """
        return self._thaw(self._freeze_number, RELEASED if generation else THAWED, generation)

    def _thaw(self, freeze_number: int, ended: str, generation: str = "", expired: str = "") -> int:
        """Thaw as `thaw` does. expired: set by a deadline, which thaws only the freeze of this number."""
        thawed = 0 if generation else self._cancel(freeze_number)
        if generation and not self._operation.acquire(True, CANCEL_TIME_LIMIT):
            raise OSError(errno.EBUSY, "filesystems are being frozen or thawed")
        failure: HookError | None = None
        record = self.record
        try:
            was_frozen = self._frozen
            if generation and not (was_frozen and record.generation == generation):
                record.check_held(generation)
            elif not expired or self._freeze_number == freeze_number:
                if was_frozen:
                    record.begin_thaw(ended)
                thawed += self._thaw_list.thaw()
                self._finish_thaw()
                if was_frozen:
                    record.end()
                    self.changed(record, bool(expired))
                    if expired:
                        self._note(f"{expired}: the deadline thawed {thawed} filesystems")
        finally:
            failure = self._end_operation()
        if failure is not None:
            raise failure
        if generation:
            record.check_held(generation)
        return thawed

    def _cancel(self, freeze_number: int) -> int:
        """Take the lock, and cancel a freeze that has it; return how many filesystems were thawed for that."""
        if self._operation.acquire(False):
            return 0
        # First the number, then the list: a freeze appends to the list, then checks the number.
        self._cancelled = freeze_number
        thawed = self._thaw_list.help_thaw() if self._freeze_number == freeze_number else 0
        if not self._operation.acquire(True, CANCEL_TIME_LIMIT):
            if not self._frozen:
                raise OSError(errno.EBUSY, "hooks are still running")
            raise OSError(
                errno.EBUSY,
                f"a freeze is stuck in the kernel; {thawed} filesystems that it had frozen are thawed",
            )
        return thawed

    def _run_hooks(self, programs: list[str], selection: Selection) -> bool:
        """Run hooks before a freeze; return False, without running them, if there is nothing to freeze."""
        targets = open_targets(self._backend, self._state, selection)
        close_targets(targets)
        if targets:
            self.record.stage = "hooks"
            self._watchdog = self._start_watchdog((), 0.0)
            try:
                self.hooks.freeze(programs, self._is_unwanted)
            except OSError:
                self._raise_if_cancelled()
                raise
            self._raise_if_cancelled()
        return bool(targets)

    def _freeze(self, pending: list[Target], time_limit: float, attempt: Attempt) -> None:
        """Freeze all, removing them from `pending`; if one fails, thaw all."""
        listed = [(target.device, target.point) for target in pending]
        record = self.record
        began = record.begin()
        self._frozen = True
        try:
            self._state.write(listed, record.generation, began)
            self._note(self._marker.create())
            watchdog = self._start_watchdog([target.descriptor for target in pending], time_limit)
            self._end_watchdog()
            self._watchdog = watchdog
            self._start_deadline(time_limit)
            while pending:
                target = pending[0]
                record.stage = f"freeze {target.point}"
                attempt.entered = (target.point, monotonic())
                try:
                    skipped = freeze_target(self._backend, target)
                finally:
                    attempt.entered = None
                watchdog.note(not skipped)
                if not skipped:
                    record.points.append(target.point)
                    self._thaw_list.append(pending.pop(0))
                else:
                    self._note(f"{target.point} was not frozen: {REASONS[skipped]}")
                    record.skipped.append((target.point, skipped))
                    os.close(pending.pop(0).descriptor)
                    # The next agent must not thaw it.
                    listed.remove((target.device, target.point))
                    self._state.write(listed, record.generation, began)
                self._raise_if_cancelled()
            if not record.points:
                self._finish_thaw()
            record.hold()
            if record.points:
                self.changed(record, False)
        except OSError as error:
            record.begin_thaw(THAWED)
            self._thaw_list.thaw()
            try:
                self._finish_thaw()
            except OSError as failure:
                raise OSError(error.errno, f"{error.strerror}; {failure.strerror}") from error
            raise OSError(error.errno, f"{error.strerror}; what was frozen has been thawed") from error
        except BaseException:
            record.begin_thaw(THAWED)
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
            self._thaw(freeze_number, EXPIRED, expired=f"nobody thawed for {time_limit:g} seconds")
        except HookError:
            return True
        except OSError:
            # It cannot be logged while anything is frozen; the next thaw reports it.
            return False
        return True

    def _is_cancelled(self) -> bool:
        return self._cancelled == self._freeze_number

    def _is_unwanted(self) -> bool:
        return self._is_cancelled() or self._revoked()

    def _raise_if_cancelled(self) -> None:
        if self._is_cancelled():
            raise OSError(errno.ECANCELED, "the freeze was cancelled by a thaw")
        if self._revoked():
            raise OSError(errno.ECANCELED, "the freeze was called off: its client has left, or sent a thaw since")

    def _finish_thaw(self) -> None:
        """End the frozen state. Raises OSError if something is still frozen, and keeps that on the list."""
        broken = self._thaw_list.finish()
        if broken and self._watchdog is not None and self._watchdog.has_thawed:
            self.record.expire()
            self._note(f"the agent was late: its watchdog thawed {', '.join(broken)}")
        else:
            self.record.broken += broken
            for point in broken:
                self._note(f"{point} was no longer frozen: somebody else thawed it")
        if self._frozen:
            try:
                self._state.remove()
            except OSError as error:
                self._note(f"cannot remove the state file in {self._state.directory}: {error.strerror}")
            self._note(self._marker.remove())
            deadline, self._deadline = self._deadline, None
            if deadline is not None:
                deadline.cancel()
            self._frozen = False

    def _end_operation(self) -> HookError | None:
        """Release the lock; if nothing is frozen, run the pending hooks first. Returns the hooks' failure."""
        failure = None
        try:
            if not self._frozen:
                self._abandoned = False
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
