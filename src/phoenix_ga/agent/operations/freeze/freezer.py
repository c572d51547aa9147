"""The freezer of an agent: what it has frozen, and what an agent before it left frozen."""

from __future__ import annotations

from phoenix_ga.agent.linux.threads import start_thread
from phoenix_ga.agent.operations.freeze.operation import FreezeOperations
from phoenix_ga.agent.operations.freeze.targets import EVERYTHING, Selection, open_frozen, open_targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any


class Freezer(FreezeOperations):
    """Freezes and thaws for an agent. Any thread may call any method."""

    __slots__ = ()

    def freeze(
        self,
        points: Collection[str] | None = None,
        time_limit: float | None = None,
        revoked: Callable[[], bool] = lambda: False,
        strict: bool = False,
    ) -> list[str]:
        """Freeze as `freeze_recorded` does; return the mount points, in the order of freezing."""
        return self.freeze_recorded(points, time_limit, revoked, strict).points

    @property
    def frozen(self) -> bool:
        """True from before the first filesystem is frozen until all are thawed. Never blocks.

        Not if the only one left is one in which the kernel hangs while it freezes it.
        """
        return self._frozen and not self._abandoned

    @property
    def has_work_left(self) -> bool:
        """Whether something is frozen, or hooks must still run with `thaw`. Never blocks."""
        return self._frozen or self.hooks.pending_thaw

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline; None if there is none. Never blocks."""
        deadline = self._deadline
        return None if deadline is None else deadline.remaining

    def plan(self, points: Collection[str] | None = None) -> dict[str, Any]:
        """Return what a freeze would do, as `freeze_plan` does."""
        from phoenix_ga.agent.operations.freeze.plan import freeze_plan

        return freeze_plan(self._backend, Selection(points, strict=True))

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
            generation = self._state.generation_left_behind()
            if devices or rescued:
                self._hold()
                self.record.recover(*generation)
                self._thaw_list.adopt(open_frozen(self._backend, devices, self._note))
                self._frozen = True
                thawed = self._thaw_list.thaw()
                who = f"thawed {thawed}" if devices else "its watchdog thawed them"
                self._note(f"an agent that died left filesystems frozen: {who}")
                self._finish_thaw()
                self.record.end()
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
        self._thaw_list.adopt(open_targets(self._backend, self._state, EVERYTHING))
        self._frozen = True
        self._freeze_number += 1
        self._note(f"{self._marker.path} says that filesystems were left frozen: most commands wait for a thaw")
        self._start_deadline(self.time_limit)
