"""What a handler may use of the running agent."""

from __future__ import annotations

import os
from _thread import allocate_lock

from phoenix_ga.agent.config import FREEZE_HOOKS
from phoenix_ga.agent.core.log import NOTICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from phoenix_ga.agent.config import Config
    from phoenix_ga.agent.core.log import Log
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.operations.freeze.freezer import Freezer
    from phoenix_ga.agent.operations.handles import Handles
    from phoenix_ga.agent.protocol.policy import Policy

    Part = TypeVar("Part")


class Context:
    """The state that requests share, whichever port they came by.

    config: the options in force. policy: which commands may run. log: where to tell what happened.
    handles: the files that `file-open` opened. stop: asks the agent to end. prepare_to_freeze: loads what
    must not be loaded while filesystems are frozen. loop: what waits, for its own thread and `call_from_thread`.
    """

    __slots__ = (
        "_freezer",
        "_lock",
        "_parts",
        "config",
        "handles",
        "log",
        "loop",
        "policy",
        "prepare_to_freeze",
        "stop",
    )

    loop: Loop

    def __init__(
        self,
        config: Config,
        policy: Policy,
        log: Log,
        handles: Handles,
        stop: Callable[[], None],
    ) -> None:
        self.config = config
        self.policy = policy
        self.log = log
        self.handles = handles
        self.stop = stop
        self.prepare_to_freeze: Callable[[], object] = lambda: None
        self._freezer: Freezer | None = None
        self._parts: dict[object, Any] = {}
        self._lock = allocate_lock()

    def part(self, make: Callable[[Context], Part]) -> Part:
        """Return what `make` returned when it was asked for first: state that few agents need."""
        part: Part | None = self._parts.get(make)
        if part is None:
            with self._lock:
                part = self._parts.get(make)
                if part is None:
                    part = self._parts[make] = make(self)
        return part

    @property
    def frozen(self) -> bool:
        """Whether filesystems are frozen by this agent. Never waits."""
        return self._freezer is not None and self._freezer.frozen

    @property
    def freezer(self) -> Freezer:
        """What freezes and thaws; loaded on first use, which must not be while filesystems are frozen."""
        with self._lock:
            if self._freezer is None:
                from phoenix_ga.agent.operations.freeze.freezer import Freezer

                self.prepare_to_freeze()
                self._freezer = Freezer(
                    lambda text: self.log.write(NOTICE, text),
                    self.config.run_directory,
                    hold=self.log.hold,
                    release=self.log.release,
                    tell=lambda text: self.log.write_alone(NOTICE, text),
                    marker=self.config.frozen_marker,
                )
            # They may have changed since.
            self._freezer.time_limit = self.config.freeze_timeout
            self._freezer.hooks.paths = self.config.freeze_hook
            self._freezer.hooks.optional = FREEZE_HOOKS
            self._freezer.hooks.time_limit = self.config.hook_timeout
            return self._freezer

    @property
    def must_thaw(self) -> bool:
        """Whether something has to be thawed, or hooks have to be run, before the agent ends. Never waits."""
        return self._freezer is not None and self._freezer.has_work_left

    @property
    def freeze_ended(self) -> str:
        """How the last freeze ended, as `Freezer.ended` says. Never waits."""
        return "" if self._freezer is None else self._freezer.ended

    @property
    def freeze_remaining(self) -> float | None:
        """How many seconds are left of a freeze, as `Freezer.remaining` says. Never waits."""
        return None if self._freezer is None else self._freezer.remaining

    def recover(self) -> None:
        """Thaw what an agent that died left frozen. To be called before any request is served."""
        # Only a freeze leaves something there, so that hardly any start has to load the freezer.
        left = [f"{self.config.run_directory}/{name}" for name in ("frozen", "thawed", "hooks")]
        if any(os.path.exists(path) for path in (*left, self.config.frozen_marker)):
            self.freezer.recover()
