"""The filesystems that are frozen, in the order of freezing."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.operations.freeze.targets import Target


class ThawList:
    """What must be thawed. Whichever thread removes a target from the list thaws it."""

    __slots__ = ("_adopted", "_backend", "_broken", "_failures", "_helping", "_targets")

    def __init__(self, backend: FreezeBackend) -> None:
        self._backend = backend
        self._targets: list[Target] = []
        self._failures: list[tuple[Target, OSError]] = []
        # Held by a thaw that helps while a freeze is in progress.
        self._helping = allocate_lock()
        # Another process froze these, and may have thawed any of them.
        self._adopted = False
        self._broken: list[str] = []

    def append(self, target: Target) -> None:
        self._targets.append(target)

    def adopt(self, targets: Iterable[Target]) -> None:
        """Take over what another process froze, and may have thawed."""
        self._targets = list(targets)
        self._adopted = True

    def thaw(self) -> int:
        """Thaw all, the last first; return the number. Failures are kept for `finish`.

        No lock is held: a thaw that cancels a freeze may be blocked in the kernel by the very filesystem that
        the freeze must thaw now (thawing a filesystem on a loop file writes to the one that holds the file).
        """
        thawed = 0
        while self._targets:
            try:
                target = self._targets.pop()
            except IndexError:
                break
            try:
                self._backend.thaw(target.descriptor)
                thawed += 1
            except OSError as error:
                if error.errno != errno.EINVAL:
                    self._failures.append((target, error))
                    continue
                if not self._adopted:
                    self._broken.append(target.point)
            os.close(target.descriptor)
        return thawed

    def help_thaw(self) -> int:
        """Thaw as `thaw` does, while a freeze is in progress on another thread."""
        with self._helping:
            return self.thaw()

    def finish(self) -> list[str]:
        """After `thaw`: return the mount points of those that were found thawed, since the last freeze.

        Raises OSError if something could not be thawed; it is on the list again, for another attempt.
        """
        with self._helping:
            failures, self._failures = self._failures, []
        if failures:
            self._targets = [target for target, _ in reversed(failures)]
            reasons = "; ".join(f"cannot thaw {target.point}: {error.strerror}" for target, error in failures)
            raise OSError(failures[0][1].errno, reasons + "; still frozen, try again")
        broken, self._broken = self._broken, []
        self._adopted = False
        return broken
