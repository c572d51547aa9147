"""The filesystems that are frozen, in the order of freezing."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.operations.freeze.targets import Target


class ThawList:
    """What must be thawed. Whichever thread removes a target from the list thaws it.

    Args:
        note: takes a line for the log, to be written after the thaw.

    Attributes:
        broken: mount points of those that were found thawed.
    """

    __slots__ = ("_backend", "_failures", "_helping", "_note", "_targets", "adopted", "broken")

    def __init__(self, backend: FreezeBackend, note: Callable[[str], None]) -> None:
        self._backend = backend
        self._note = note
        self._targets: list[Target] = []
        self._failures: list[tuple[Target, OSError]] = []
        # Held by a thaw that helps while a freeze is in progress.
        self._helping = allocate_lock()
        # Another program froze these, and nothing else is known of them.
        self.adopted = False
        self.broken: list[str] = []

    def append(self, target: Target) -> None:
        self._targets.append(target)

    def adopt(self, targets: Iterable[Target]) -> None:
        """Take over what another process froze."""
        self._targets = list(targets)

    def thaw(self) -> int:
        """Thaw all, the last first; return the number. Failures are kept for `raise_failures`.

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
                if not self.adopted:
                    self.broken.append(target.point)
                    self._note(f"{target.point} was no longer frozen: somebody else thawed it")
            os.close(target.descriptor)
        return thawed

    def help_thaw(self) -> int:
        """Thaw as `thaw` does, while a freeze is in progress on another thread."""
        with self._helping:
            return self.thaw()

    def raise_failures(self) -> None:
        """Raise OSError if something could not be thawed; it is on the list again, for another attempt."""
        with self._helping:
            failures, self._failures = self._failures, []
        if failures:
            self._targets = [target for target, _ in reversed(failures)]
            reasons = "; ".join(f"cannot thaw {target.point}: {error.strerror}" for target, error in failures)
            raise OSError(failures[0][1].errno, reasons + "; still frozen, try again")
