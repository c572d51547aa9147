"""Freezing every local filesystem, and thawing them whatever happens.

Nothing that is needed to thaw is read from a disk after the first filesystem is frozen: the
modules are imported here, the mount points are open, the state is in a directory on a tmpfs, and
log lines wait until all is thawed (whoever writes the log may be waiting for a frozen filesystem).

Three locks, each for one thing. `_operation` is held by the one freeze or thaw at work. `_thawing`
is held while descriptors are taken off the list and thawed. `_syncing` is held while sync(2) runs,
which may outlast the freeze. A freeze stuck in the kernel holds `_operation` only: `frozen` needs no
lock, and a thaw goes on without it to thaw what the freeze has frozen so far, which may be what the
kernel is waiting for.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock, start_new_thread

from phoenix_ga.agent.linux.freeze import Kernel
from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, local_filesystems, mount_identifier
from phoenix_ga.agent.operations.freeze_order import freeze_order
from phoenix_ga.agent.operations.freeze_state import RUN_DIRECTORY, FreezeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

# Seconds. The kernel syncs each filesystem anyway when it freezes it; a sync before only makes the
# time shorter for which writers wait. It also waits for network filesystems, which may hang.
SYNC_TIME_LIMIT: Final = 30.0
# Seconds that a thaw waits for a freeze that is stuck in the kernel, before it answers.
CANCEL_TIME_LIMIT: Final = 30.0
# How often mounts are read again when one vanished between reading and opening.
ATTEMPTS: Final = 3


class Target:
    """A filesystem to freeze: its number, where it is mounted, and the open mount point."""

    __slots__ = ("descriptor", "device", "point")

    def __init__(self, device: int, point: str, descriptor: int) -> None:
        self.device = device
        self.point = point
        self.descriptor = descriptor


class Freezer:
    """What this agent froze; any thread may call any method.

    log: takes a line of text; never called while a filesystem is frozen by this object.
    run_directory: made with mode 0700 where it is missing; must be on a filesystem that is not
    frozen, so a tmpfs.
    """

    __slots__ = (
        "_cancelled",
        "_frozen",
        "_kernel",
        "_log",
        "_notes",
        "_operation",
        "_state",
        "_syncing",
        "_targets",
        "_thawing",
    )

    def __init__(
        self,
        log: Callable[[str], None],
        run_directory: str = RUN_DIRECTORY,
        kernel: Kernel | None = None,
    ) -> None:
        self._log = log
        self._state = FreezeState(run_directory)
        self._kernel = Kernel() if kernel is None else kernel
        self._frozen = False
        self._cancelled = False
        # What is frozen, in the order of freezing.
        self._targets: list[Target] = []
        self._notes: list[str] = []
        self._operation = allocate_lock()
        self._thawing = allocate_lock()
        self._syncing = allocate_lock()

    @property
    def frozen(self) -> bool:
        """True from before the first filesystem is frozen until all are thawed. Never waits."""
        return self._frozen

    def freeze(self) -> list[str]:
        """Freeze every local filesystem that can be; return the mount points, in that order.

        A filesystem that cannot be frozen by its nature, or that somebody else froze, is left alone
        and logged. Where there is none to freeze, nothing is, and `frozen` stays False.

        Raises OSError, and then nothing is left frozen: EBUSY where filesystems are frozen by this
        object or being frozen or thawed, ECANCELED where `thaw` was called meanwhile, EINVAL where
        the run directory would be frozen, ENOENT where a filesystem is hidden by another mount,
        otherwise what the kernel said.
        """
        if not self._operation.acquire(False):
            raise OSError(errno.EBUSY, "filesystems are being frozen or thawed")
        try:
            if self._frozen:
                raise OSError(errno.EBUSY, "filesystems are frozen already")
            targets = self._open_targets()
            try:
                self._sync()
                self._freeze(targets)
                return [target.point for target in self._targets]
            finally:
                for target in targets:
                    if target not in self._targets:
                        os.close(target.descriptor)
        finally:
            self._cancelled = False
            self._operation.release()
            self._write_notes()

    def thaw(self) -> int:
        """Thaw what was frozen, in the reverse order; return how many filesystems.

        A freeze that is at work is cancelled. Raises OSError where a filesystem could not be thawed:
        the others are, `frozen` stays True, and another call tries again; EBUSY where a freeze is
        stuck in the kernel: what it froze so far is thawed, and what it is at will be as soon as the
        kernel comes back.
        """
        thawed = 0
        if not self._operation.acquire(False):
            self._cancelled = True
            thawed = self._thaw_targets()
            if not self._operation.acquire(True, CANCEL_TIME_LIMIT):
                raise OSError(
                    errno.EBUSY,
                    f"a freeze is still stuck in the kernel; {thawed} filesystems that it had frozen are thawed",
                )
        try:
            thawed += self._thaw_targets()
            self._finish_thaw()
            return thawed
        finally:
            self._cancelled = False
            self._operation.release()
            self._write_notes()

    def recover(self) -> int:
        """Thaw what an agent that died has left frozen, and log it; return how many filesystems.

        To be called once, before any request is served. What could not be thawed is logged, and
        `frozen` is True then.
        """
        with self._operation:
            try:
                devices = self._state.left_behind()
                if not devices:
                    return 0
                self._frozen = True
                self._targets = self._open_frozen(devices)
                thawed = self._thaw_targets()
                self._finish_thaw()
                self._notes.append(f"thawed {thawed} filesystems that an agent which died had left frozen")
                return thawed
            except OSError as error:
                self._notes.append(f"cannot thaw what an agent which died has left frozen: {error.strerror}")
                self._frozen = bool(self._targets)
                return 0
            finally:
                self._write_notes()

    def _open_targets(self) -> list[Target]:
        """Open a mount point of everything that is to be frozen, in the order of freezing."""
        for attempt in range(ATTEMPTS):
            targets: list[Target] = []
            try:
                tree = MountTree(self._kernel.mounts())
                topology = self._kernel.topology()
                filesystems = [
                    filesystem
                    for filesystem in local_filesystems(tree.mounts, topology)
                    # Nothing can be written to the one, and the kernel cannot freeze the other (FUSE).
                    if not filesystem.read_only and not filesystem.type.startswith("fuse")
                ]
                for filesystem in filesystems:
                    if os.major(filesystem.device) == 0:
                        filesystem.numbers |= self._kernel.device_numbers(filesystem, tree)
                for filesystem in freeze_order(filesystems, topology):
                    targets.append(self._open_target(filesystem, tree))
                self._check_run_directory(filesystems)
                return targets
            except OSError as error:
                for target in targets:
                    os.close(target.descriptor)
                if error.errno != errno.ENOENT or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _open_target(self, filesystem: Filesystem, tree: MountTree) -> Target:
        try:
            descriptor = self._kernel.open(filesystem, tree)
        except OSError as error:
            reason = f"cannot freeze {filesystem.point}: {error.strerror}; nothing was frozen"
            raise OSError(error.errno, reason) from error
        return Target(filesystem.device, filesystem.point, descriptor)

    def _check_run_directory(self, filesystems: Sequence[Filesystem]) -> None:
        identifier = mount_identifier(self._state.open_directory())
        for filesystem in filesystems:
            if any(mount.identifier == identifier for mount in filesystem.mounts):
                raise OSError(
                    errno.EINVAL,
                    f"the run directory {self._state.directory} is on a filesystem that would be frozen, "
                    f"{filesystem.point}: it must be on a tmpfs",
                )

    def _sync(self) -> None:
        if not self._syncing.acquire(False):
            self._notes.append("sync before the freeze left out: an earlier one still hangs")
            return
        start_new_thread(self._sync_and_release, ())
        if self._syncing.acquire(True, SYNC_TIME_LIMIT):
            self._syncing.release()
        else:
            self._notes.append(f"sync before the freeze took more than {SYNC_TIME_LIMIT:.0f} s: went on")

    def _sync_and_release(self) -> None:
        try:
            self._kernel.sync()
        finally:
            self._syncing.release()

    def _freeze(self, targets: Sequence[Target]) -> None:
        self._raise_if_cancelled()
        remaining = list(targets)
        self._frozen = True
        try:
            self._write_state(remaining)
            # DEADLINE AND GUARDIAN START HERE: all is open, and nothing is frozen yet.
            for target in targets:
                if not self._freeze_one(target):
                    remaining.remove(target)
                    self._write_state(remaining)
                self._raise_if_cancelled()
        except OSError as error:
            self._thaw_targets()
            try:
                self._finish_thaw()
            except OSError as failure:
                raise OSError(error.errno, f"{error.strerror}; {failure.strerror}") from error
            raise OSError(error.errno, f"{error.strerror}; what was frozen has been thawed") from error
        if not self._targets:
            self._finish_thaw()

    def _freeze_one(self, target: Target) -> bool:
        try:
            self._kernel.freeze(target.descriptor)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._notes.append(f"{target.point} is not frozen: its filesystem does not support it")
            elif error.errno == errno.EBUSY:
                self._notes.append(f"{target.point} was frozen already by somebody else, who has to thaw it")
            else:
                raise OSError(error.errno, f"cannot freeze {target.point}: {error.strerror}") from error
            return False
        # Before the next look at _cancelled, which a thaw sets before it looks at the list: so one of
        # the two sees this filesystem.
        self._targets.append(target)
        return True

    def _write_state(self, targets: Sequence[Target]) -> None:
        try:
            self._state.write([(target.device, target.point) for target in targets])
        except OSError as error:
            reason = f"cannot write to the run directory {self._state.directory}: {error.strerror}"
            raise OSError(error.errno, reason) from error

    def _raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise OSError(errno.ECANCELED, "the freeze was cancelled by a thaw")

    def _thaw_targets(self) -> int:
        """Thaw what is on the list, last first. What cannot be thawed stays on it, and is noted.

        A thaw that cancels may wait in the kernel for what the freeze is at (a filesystem on a loop
        file, for the one that holds the file). So the freeze, when it is cancelled, first thaws that
        itself, without the lock, and only then waits for the other's end.
        """
        return self._thaw_list(self._targets) if self._thawing.locked() and self._cancelled else self._thaw_all()
