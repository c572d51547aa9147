"""Freezing every local filesystem, and thawing them whatever happens.

Nothing that is needed to thaw is read from a disk after the first filesystem is frozen: the
modules are imported here, the mount points are open, the state is in a directory on a tmpfs, and
log lines wait until all is thawed (whoever writes the log may be waiting for a frozen filesystem).

Three locks, each for one thing. `_operation` is held by the one freeze or thaw at work, hooks
included. `_thawing` is held by a thaw that helps while a freeze has `_operation`. `_syncing` is held
while sync(2) runs, which may outlast the freeze. A freeze stuck in the kernel holds `_operation` only:
`frozen` needs no lock, and a thaw can still thaw what the freeze has frozen so far, which may be what
the kernel is waiting for.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock, start_new_thread

from phoenix_ga.agent.linux.freeze import Kernel
from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, local_filesystems, mount_identifier
from phoenix_ga.agent.operations.freeze.deadline import Deadline
from phoenix_ga.agent.operations.freeze.hooks import HookError, Hooks
from phoenix_ga.agent.operations.freeze.order import freeze_order
from phoenix_ga.agent.operations.freeze.state import RUN_DIRECTORY, FreezeState
from phoenix_ga.agent.operations.freeze.watchdog import Guardian

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Final

# Seconds. The kernel syncs each filesystem anyway when it freezes it; a sync before only makes the
# time shorter for which writers wait. It also waits for network filesystems, which may hang.
SYNC_TIME_LIMIT: Final = 30.0
# Seconds that a thaw waits for a freeze that is stuck in the kernel, before it answers.
CANCEL_TIME_LIMIT: Final = 30.0
# How often mounts are read again when one vanished between reading and opening.
ATTEMPTS: Final = 3

# How the last freeze ended: somebody thawed it, its deadline did, or the agent died meanwhile.
THAWED: Final = "thawed"
EXPIRED: Final = "deadline"
DIED: Final = "died"


class Target:
    """A filesystem to freeze: its number, where it is mounted, and the open mount point."""

    __slots__ = ("descriptor", "device", "point")

    def __init__(self, device: int, point: str, descriptor: int) -> None:
        self.device = device
        self.point = point
        self.descriptor = descriptor


class Freezer:
    """What this agent froze; any thread may call any method.

    log: takes a line of text; never called while a filesystem is frozen by this object. hold: is
    called before anything may be frozen, so that nobody else writes to a log on a frozen disk either.
    release: is called when nothing is frozen any more.
    run_directory: made with mode 0700 where it is missing; must be on a filesystem that is not
    frozen, so a tmpfs. kernel: what to freeze with, other than the real one in tests. tell: takes a line
    of text in a forked process, where `log` may not work. marker: the path of a file that is there while
    something is frozen; empty for none.

    time_limit: seconds after which a freeze ends by itself, where it has no time limit of its own; 0 for
    never. hooks: what runs before and after. ended: how the last freeze ended; empty where there was none,
    or is one.
    """

    __slots__ = (
        "_adopted",
        "_cancelled",
        "_deadline",
        "_failures",
        "_freeze_number",
        "_frozen",
        "_guardian",
        "_hold",
        "_kernel",
        "_log",
        "_marker",
        "_notes",
        "_operation",
        "_release",
        "_state",
        "_syncing",
        "_targets",
        "_tell",
        "_thawing",
        "ended",
        "hooks",
        "time_limit",
    )

    def __init__(
        self,
        log: Callable[[str], None],
        run_directory: str = RUN_DIRECTORY,
        kernel: Kernel | None = None,
        hold: Callable[[], None] = lambda: None,
        release: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda text: None,
        marker: str = "",
    ) -> None:
        self._log = log
        self._tell = tell
        self._marker = marker
        self._hold = hold
        self._release = release
        self._state = FreezeState(run_directory)
        self._kernel = Kernel() if kernel is None else kernel
        self.time_limit = 0.0
        self.hooks = Hooks(lambda text: self._log(text), self._keep_hooks)
        self.ended = ""
        self._deadline: Deadline | None = None
        self._guardian: Guardian | None = None
        self._frozen = False
        # Whether an earlier agent, of which nothing else is known, froze what is frozen.
        self._adopted = False
        # Freezes are counted, so that none is cancelled or ended for another.
        self._freeze_number = 0
        self._cancelled = 0
        # What is frozen, in the order of freezing. Whoever takes one off thaws it.
        self._targets: list[Target] = []
        self._failures: list[tuple[Target, OSError]] = []
        self._notes: list[str] = []
        self._operation = allocate_lock()
        self._thawing = allocate_lock()
        self._syncing = allocate_lock()

    @property
    def frozen(self) -> bool:
        """True from before the first filesystem is frozen until all are thawed. Never waits."""
        return self._frozen

    @property
    def has_work_left(self) -> bool:
        """True where something is frozen, or hooks have run that are owed a thaw. Never waits."""
        return self._frozen or self.hooks.owed

    @property
    def remaining(self) -> float | None:
        """How many seconds are left until the freeze ends by itself; None where it does not. Never waits."""
        deadline = self._deadline
        return None if deadline is None else deadline.remaining

    def freeze(self, points: Collection[str] | None = None, time_limit: float | None = None) -> list[str]:
        """Freeze every local filesystem that can be; return the mount points, in that order.

        points: only the filesystems that these mount points lead to, whichever of several leads
        there; other paths are ignored. time_limit: instead of the usual one. A filesystem that cannot be
        frozen by its nature, or that somebody else froze, is left alone and logged. Where there is none to
        freeze, nothing is, no hook runs, and `frozen` stays False.

        Raises OSError, and then this call has left nothing frozen (or says what): EBUSY where
        filesystems are frozen by this object or being frozen or thawed, ECANCELED where `thaw` was
        called meanwhile, EINVAL where the run directory would be frozen, ENOENT where another mount
        hides a filesystem, otherwise what the kernel said. HookError where a hook can't be run, or fails.
        """
        if not self._operation.acquire(False):
            raise OSError(errno.EBUSY, "filesystems are being frozen or thawed")
        try:
            if self._frozen:
                raise OSError(errno.EBUSY, "filesystems are frozen already")
            self._freeze_number += 1
            self.ended = ""
            programs = self.hooks.programs()
            if programs and not self._run_hooks(programs, points):
                return []
            self._hold()
            pending = self._open_targets(points)
            if not pending:
                return []
            try:
                self._sync()
                self._raise_if_cancelled()
                return self._freeze(pending, self.time_limit if time_limit is None else time_limit)
            finally:
                for target in pending:
                    os.close(target.descriptor)
        finally:
            self._end_operation()

    def thaw(self) -> int:
        """Thaw what was frozen, in the reverse order; return how many filesystems.

        A freeze that is at work is cancelled. Raises OSError where a filesystem could not be thawed:
        the others are, `frozen` stays True, and another call tries again. Raises EBUSY where a
        freeze is stuck in the kernel: what it froze so far is thawed then, and the one that it is
        stuck in will be as soon as the kernel comes back from it. Raises HookError where all is thawed, and
        a hook failed.
        """
        return self._thaw(self._freeze_number)

    def _thaw(self, freeze_number: int, expired: str = "") -> int:
        """Thaw as `thaw` does. expired: why a deadline wants it, which means no other freeze than this one."""
        thawed = 0
        if not self._operation.acquire(False):
            # First the number, then the list: a freeze adds to the list, then looks at the number.
            self._cancelled = freeze_number
            if self._freeze_number == freeze_number:
                with self._thawing:
                    thawed = self._thaw_targets()
            if not self._operation.acquire(True, CANCEL_TIME_LIMIT):
                if not self._frozen:
                    raise OSError(errno.EBUSY, "hooks are still at work")
                raise OSError(
                    errno.EBUSY,
                    f"a freeze is stuck in the kernel; {thawed} filesystems that it had frozen are thawed",
                )
        failure: HookError | None = None
        try:
            if not expired or self._freeze_number == freeze_number:
                was_frozen = self._frozen
                thawed += self._thaw_targets()
                self._finish_thaw()
                if was_frozen:
                    self.ended = EXPIRED if expired else THAWED
                    if expired:
                        self._notes.append(f"{expired}: the deadline thawed {thawed} filesystems")
        finally:
            failure = self._end_operation()
        if failure is not None:
            raise failure
        return thawed

    def recover(self) -> int:
        """Thaw what an agent that died has left frozen, and log it; return how many filesystems.

        To be called once, before any request is served. Where something could not be thawed, `frozen`
        is True afterwards, so that `thaw` can try again. So it is where there is a marker and nothing else:
        then nobody knows what is frozen, and `thaw` thaws every local filesystem. Hooks that are owed a thaw
        run on a thread of their own.
        """
        self._operation.acquire()
        owed: list[str] = []
        thawed = 0
        try:
            owed = self._state.hooks_left_behind()
            devices = self._state.left_behind()
            rescued = self._state.was_rescued()
            if devices or rescued:
                self._hold()
                self.ended = DIED
                self._targets = self._open_frozen(devices)
                self._frozen = True
                thawed = self._thaw_targets()
                who = f"thawed {thawed}" if devices else "its guardian thawed them"
                self._notes.append(f"an agent that died left filesystems frozen: {who}")
                self._finish_thaw()
            elif self._marker and os.path.exists(self._marker):
                self._adopt()
        except OSError as error:
            self._notes.append(f"cannot thaw what an agent that died left frozen: {error.strerror}")
        finally:
            self._end_operation()
        if owed:
            start_new_thread(self._pay_hooks, (owed,))
        return thawed

    def _adopt(self) -> None:
        """Take for frozen what an agent of another make has left, until a thaw or the deadline."""
        self._hold()
        self._targets = self._open_targets(None)
        self._adopted = self._frozen = True
        self._freeze_number += 1
        self._notes.append(f"{self._marker} says that filesystems were left frozen: most commands wait for a thaw")
        self._start_deadline(self.time_limit)

    def _run_hooks(self, programs: list[str], points: Collection[str] | None) -> bool:
        """Run hooks before a freeze; return whether there is anything to freeze, else without running them."""
        targets = self._open_targets(points)
        for target in targets:
            os.close(target.descriptor)
        if targets:
            self._guardian = self._make_guardian((), 0.0)
            try:
                self.hooks.freeze(programs, lambda: self._cancelled == self._freeze_number)
            except OSError:
                self._raise_if_cancelled()
                raise
            self._raise_if_cancelled()
        return bool(targets)

    def _pay_hooks(self, owed: Sequence[str]) -> None:
        """Run the hooks that a dead agent has left, unless its guardian does."""
        with self._operation:
            try:
                self._open_state()
            except OSError:
                return
            self.hooks.inherit(owed)
            if not self._frozen:
                self._run_thaw_hooks()
                self._state.close()

    def _open_targets(self, points: Collection[str] | None) -> list[Target]:
        """Open a mount point of everything that is to be frozen, in the order of freezing."""
        for attempt in range(ATTEMPTS):
            targets: list[Target] = []
            try:
                self._add_targets(targets, points)
                return targets
            except BaseException as error:
                for target in targets:
                    os.close(target.descriptor)
                # A mount that vanished since it was read is no reason to fail.
                if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("not reached")

    def _add_targets(self, targets: list[Target], points: Collection[str] | None) -> None:
        tree = MountTree(self._kernel.mounts())
        topology = self._kernel.topology()
        filesystems = [
            filesystem
            for filesystem in local_filesystems(tree.mounts, topology)
            # To the one nothing is written; the other (FUSE) the kernel cannot freeze.
            if not filesystem.read_only and not filesystem.type.startswith("fuse")
        ]
        wanted = filesystems if points is None else [each for each in filesystems if _is_at(each, points, tree)]
        if not wanted:
            return
        self._check_run_directory(wanted)
        for filesystem in filesystems:
            filesystem.numbers |= self._kernel.device_numbers(filesystem, tree)
        # The order comes from all: two that are wanted may depend on each other through one that is not.
        for filesystem in freeze_order(filesystems, topology):
            if filesystem not in wanted:
                continue
            try:
                descriptor = self._kernel.open(filesystem, tree)
            except OSError as error:
                reason = f"cannot freeze {filesystem.point}: {error.strerror}; nothing was frozen"
                raise OSError(error.errno, reason) from error
            targets.append(Target(filesystem.device, filesystem.point, descriptor))

    def _check_run_directory(self, filesystems: Sequence[Filesystem]) -> None:
        identifier = mount_identifier(self._open_state())
        for filesystem in filesystems:
            if any(mount.identifier == identifier for mount in filesystem.mounts):
                raise OSError(
                    errno.EINVAL,
                    f"the run directory {self._state.directory} would be frozen itself, with {filesystem.point}: "
                    "it must be on a tmpfs; nothing was frozen",
                )

    def _open_frozen(self, devices: Sequence[int]) -> list[Target]:
        """Open what an earlier agent froze. What cannot be opened is noted and left out."""
        tree = MountTree(self._kernel.mounts())
        topology = self._kernel.topology()
        mounted = {filesystem.device: filesystem for filesystem in local_filesystems(tree.mounts, topology)}
        targets = []
        for device in devices:
            filesystem = mounted.get(device)
            if filesystem is None:
                self._notes.append(f"{os.major(device)}:{os.minor(device)} was frozen, and is mounted no more")
                continue
            try:
                descriptor = self._kernel.open(filesystem, tree)
            except OSError as error:
                self._notes.append(f"{filesystem.point} may have stayed frozen: {error.strerror}")
                continue
            targets.append(Target(device, filesystem.point, descriptor))
        return targets

    def _sync(self) -> None:
        if not self._syncing.acquire(False):
            self._notes.append("left out the sync before the freeze: an earlier one still hangs")
            return
        start_new_thread(self._sync_and_release, ())
        if self._syncing.acquire(True, SYNC_TIME_LIMIT):
            self._syncing.release()
        else:
            self._notes.append(f"the sync before the freeze took more than {SYNC_TIME_LIMIT:.0f} s: froze without")

    def _sync_and_release(self) -> None:
        try:
            self._kernel.sync()
        finally:
            self._syncing.release()

    def _freeze(self, pending: list[Target], time_limit: float) -> list[str]:
        """Freeze all, taking them off `pending`; thaw all where one fails."""
        listed = [(target.device, target.point) for target in pending]
        points: list[str] = []
        self._frozen = True
        try:
            self._write_state(listed)
            self._write_marker()
            guardian = self._make_guardian([target.descriptor for target in pending], time_limit)
            self._end_guardian()
            self._guardian = guardian
            self._start_deadline(time_limit)
            while pending:
                target = pending[0]
                is_frozen = self._freeze_one(target)
                guardian.note(is_frozen)
                if is_frozen:
                    points.append(target.point)
                    self._targets.append(pending.pop(0))
                else:
                    os.close(pending.pop(0).descriptor)
                    # An agent that comes after this one must not thaw it.
                    listed.remove((target.device, target.point))
                    self._write_state(listed)
                self._raise_if_cancelled()
            if not points:
                self._finish_thaw()
            return points
        except OSError as error:
            self._thaw_targets()
            try:
                self._finish_thaw()
            except OSError as failure:
                raise OSError(error.errno, f"{error.strerror}; {failure.strerror}") from error
            raise OSError(error.errno, f"{error.strerror}; what was frozen has been thawed") from error
        except BaseException:
            self._thaw_targets()
            self._finish_thaw()
            raise

    def _freeze_one(self, target: Target) -> bool:
        try:
            self._kernel.freeze(target.descriptor)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._notes.append(f"{target.point} was not frozen: its filesystem does not support it")
            elif error.errno == errno.EBUSY:
                self._notes.append(f"{target.point} was frozen by somebody else, who has to thaw it")
            else:
                raise OSError(error.errno, f"cannot freeze {target.point}: {error.strerror}") from error
            return False
        return True

    def _write_state(self, listed: Sequence[tuple[int, str]]) -> None:
        try:
            self._state.write(listed)
        except OSError as error:
            reason = f"cannot write to the run directory {self._state.directory}: {error.strerror}"
            raise OSError(error.errno, reason) from error

    def _write_marker(self) -> None:
        if self._marker:
            try:
                os.close(os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                self._notes.append(f"cannot make {self._marker}: {error.strerror}")

    def _remove_marker(self) -> None:
        if self._marker:
            try:
                os.unlink(self._marker)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._notes.append(f"cannot remove {self._marker}: {error.strerror}")

    def _make_guardian(self, descriptors: Sequence[int], time_limit: float) -> Guardian:
        return Guardian(descriptors, self._kernel.thaw, (self._open_state(),), self._rescue, time_limit)

    def _end_guardian(self) -> None:
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            guardian.end()

    def _rescue(self, thawed: int | None) -> None:
        """In the guardian of an agent that is dead: do what is to be done after the thaw."""
        self._log = self._tell
        if thawed is not None:
            self._state.note_rescue()
            self._remove_marker()
            self._log(f"the agent died while filesystems were frozen: thawed {thawed}")
        self.hooks.inherit(self._state.hooks_left_behind(is_dead=True))
        self._run_thaw_hooks()

    def _start_deadline(self, time_limit: float) -> None:
        if time_limit:
            number = self._freeze_number
            self._deadline = Deadline(time_limit, lambda: self._expire(number, time_limit))

    def _expire(self, freeze_number: int, time_limit: float) -> bool:
        """The time of a freeze is over: thaw; return whether that succeeded."""
        try:
            self._thaw(freeze_number, f"nobody thawed for {time_limit:g} seconds")
        except HookError:
            return True
        except OSError:
            # What failed can't be logged while anything is frozen, and whoever thaws next hears of it.
            return False
        return True

    def _raise_if_cancelled(self) -> None:
        if self._cancelled == self._freeze_number:
            raise OSError(errno.ECANCELED, "the freeze was cancelled by a thaw")

    def _thaw_targets(self) -> int:
        """Thaw what is on the list, the last first; return how many.

        No lock is held by the one who calls it from a freeze: a thaw that cancels the freeze may be
        waiting in the kernel for the very filesystem that the freeze has to thaw now (it thaws one
        on a loop file, and that writes to the one that holds the file).
        """
        thawed = 0
        while self._targets:
            try:
                target = self._targets.pop()
            except IndexError:
                break
            try:
                self._kernel.thaw(target.descriptor)
                thawed += 1
            except OSError as error:
                if error.errno != errno.EINVAL:
                    self._failures.append((target, error))
                    continue
                if not self._adopted:
                    self._notes.append(f"{target.point} was not frozen any more: somebody else thawed it")
            os.close(target.descriptor)
        return thawed

    def _finish_thaw(self) -> None:
        """Be thawed; raise OSError where something could not be, and keep that on the list."""
        with self._thawing:
            # Whoever cancelled the freeze has done its part now.
            failures, self._failures = self._failures, []
        if failures:
            self._targets = [target for target, _ in reversed(failures)]
            reasons = "; ".join(f"cannot thaw {target.point}: {error.strerror}" for target, error in failures)
            raise OSError(failures[0][1].errno, reasons + "; still frozen, try again")
        if self._frozen:
            try:
                self._state.remove()
            except OSError as error:
                self._notes.append(f"cannot remove the state file in {self._state.directory}: {error.strerror}")
            self._remove_marker()
            deadline, self._deadline = self._deadline, None
            if deadline is not None:
                deadline.cancel()
            self._frozen = self._adopted = False

    def _end_operation(self) -> HookError | None:
        """Let others in; where nothing is frozen, run the hooks that are owed a thaw. Return what failed of them."""
        failure = None
        try:
            if not self._frozen:
                if self._guardian is not None:
                    self._guardian.dismiss()
                self._release()
                notes, self._notes = self._notes, []
                for note in notes:
                    self._log(note)
                if self.hooks.owed:
                    failure = self._run_thaw_hooks()
                self._end_guardian()
                self._state.close()
        finally:
            self._operation.release()
        return failure

    def _run_thaw_hooks(self) -> HookError | None:
        try:
            self.hooks.thaw()
        except HookError as error:
            return error
        return None

    def _keep_hooks(self, owed: Sequence[str]) -> None:
        self._open_state()
        self._state.write_hooks(owed)

    def _open_state(self) -> int:
        """Open the run directory, where it is not open; return the descriptor. Raises OSError."""
        try:
            return self._state.open()
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise
            reason = f"cannot use the run directory {self._state.directory}: {error.strerror}; nothing was frozen"
            raise OSError(error.errno, reason) from error


def _is_at(filesystem: Filesystem, points: Collection[str], tree: MountTree) -> bool:
    return any(mount.point in points and tree.is_reachable(mount) for mount in filesystem.mounts)
