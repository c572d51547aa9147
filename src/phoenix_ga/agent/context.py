"""The state of the running agent that requests share."""

from __future__ import annotations

import os
from _thread import allocate_lock

from phoenix_ga.agent.core.log import NOTICE
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.options.table import FREEZE_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final, TypeVar

    from phoenix_ga.agent.config import Config
    from phoenix_ga.agent.core.log import Log
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.operations.freeze.freezer import Freezer
    from phoenix_ga.agent.operations.freeze.record import FreezeRecord
    from phoenix_ga.agent.operations.handles import Handles
    from phoenix_ga.agent.protocol.policy import Policy

    Part = TypeVar("Part")

_STREAM_MAX: Final = 2**32 - 1


class Context:
    """The state of the running agent that handlers may use.

    Attributes:
        config: The options in force.
        policy: Which commands may run.
        log: The log.
        handles: The files opened by `file-open`.
        throttle: Decides when bulk work pauses.
        loop: The loop, for its own thread and for `call_from_thread`.
        stop: Asks the agent to end.
        prepare_to_freeze: Imports what must not be imported while filesystems are frozen.
        last_stream: The number of the last stream.
        subscribers: What wants to know of events of the agent itself: they get an event's name and data.
        freezing_for: The port of the client that froze or thawed last.
    """

    __slots__ = (
        "_freezer",
        "_freezer_lock",
        "_parts",
        "_parts_lock",
        "config",
        "freezing_for",
        "handles",
        "last_stream",
        "log",
        "loop",
        "policy",
        "prepare_to_freeze",
        "stop",
        "subscribers",
        "throttle",
    )

    def __init__(
        self, config: Config, policy: Policy, log: Log, handles: Handles, loop: Loop, stop: Callable[[], None]
    ) -> None:
        self.config = config
        self.policy = policy
        self.log = log
        self.handles = handles
        self.throttle = Throttle()
        self.loop = loop
        self.stop = stop
        self.prepare_to_freeze: Callable[[], object] = lambda: None
        self.subscribers: list[Callable[[str, dict[str, Any]], None]] = []
        self.freezing_for = ""
        self._freezer: Freezer | None = None
        # Not the lock of the parts: making a part may wait for a disk, and thawing must not.
        self._freezer_lock = allocate_lock()
        self._parts: dict[object, Any] = {}
        self._parts_lock = allocate_lock()
        # Random, so that the number of a stream of an earlier agent means no stream of this one.
        self.last_stream = int.from_bytes(os.urandom(3), "big")

    def part(self, make: Callable[[Context], Part]) -> Part:
        """Return the result of `make`, which is called once: state that few agents need. For workers."""
        part: Part | None = self._parts.get(make)
        if part is None:
            with self._parts_lock:
                part = self._parts.get(make)
                if part is None:
                    part = self._parts[make] = make(self)
        return part

    def existing_part(self, make: Callable[[Context], Part]) -> Part | None:
        """Return the part that `make` has made, or None. Never waits."""
        return self._parts.get(make)

    def publish(self, name: str, data: dict[str, Any]) -> None:
        """Tell an event to those who want it. From any thread."""
        if self.subscribers:
            self.loop.call_from_thread(self._publish, name, data)

    def _publish(self, name: str, data: dict[str, Any]) -> None:
        for tell in [*self.subscribers]:
            tell(name, data)

    def _freeze_changed(self, record: FreezeRecord, expired: bool) -> None:
        data = {"generation": record.generation, "by": "deadline" if expired else self.freezing_for}
        if record.ended:
            self.publish("THAWED", {**data, "ended": record.ended})
        else:
            self.publish("FROZEN", {**data, "mountpoints": [*record.points]})

    def next_stream(self) -> int:
        """Return a stream number that was not used lately, so that a late frame never meets a new stream."""
        self.last_stream = self.last_stream % _STREAM_MAX + 1
        return self.last_stream

    @property
    def frozen(self) -> bool:
        """Whether this agent has frozen filesystems. Never waits."""
        return self._freezer is not None and self._freezer.frozen

    @property
    def freezer(self) -> Freezer:
        """The freezer, imported on first use, which must not be while filesystems are frozen."""
        with self._freezer_lock:
            if self._freezer is None:
                from phoenix_ga.agent.operations.freeze.freezer import Freezer

                self.prepare_to_freeze()
                self._freezer = Freezer(
                    lambda text: self.log.write(NOTICE, text),
                    self.config.run_directory,
                    hold=self.log.hold,
                    release=self.log.release,
                    child_log=lambda text: self.log.write_alone(NOTICE, text),
                    marker=self.config.frozen_marker,
                )
                self._freezer.changed = self._freeze_changed
            # The configuration may have been reloaded.
            self._freezer.time_limit = self.config.freeze_timeout
            self._freezer.hooks.paths = self.config.freeze_hook
            self._freezer.hooks.optional = FREEZE_HOOKS
            self._freezer.hooks.time_limit = self.config.hook_timeout
            return self._freezer

    @property
    def must_thaw(self) -> bool:
        """Whether the agent must thaw something or run hooks before it ends. Never waits."""
        return self._freezer is not None and self._freezer.has_work_left

    @property
    def freeze_record(self) -> FreezeRecord | None:
        """What is known of the last freeze; None if there was none. Never waits."""
        return None if self._freezer is None else self._freezer.record

    @property
    def freeze_remaining(self) -> float | None:
        """Seconds until the freeze ends, as `Freezer.remaining` says. Never waits."""
        return None if self._freezer is None else self._freezer.remaining

    @property
    def in_use(self) -> bool:
        """Whether clients have left something that must not be lost, such as an open file. Never waits."""
        return (
            self.must_thaw
            or len(self.handles) > 0
            or any(getattr(part, "in_use", False) for part in self._parts.values())
        )

    def park(self) -> dict[str, Any]:
        """Return what `restore` needs after the agent was parked."""
        record = self.freeze_record
        return {
            "stream": self.last_stream,
            "handle": self.handles.last,
            "freeze": None if record is None else record.park(),
        }

    def restore(self, parked: Mapping[str, Any]) -> None:
        """Continue as before the agent was parked: handles and streams must not get numbers of earlier ones."""
        self.last_stream = parked["stream"]
        self.handles.last = parked["handle"]
        if parked["freeze"] is not None:
            self.freezer.record.restore(parked["freeze"])

    def self_test(self) -> list[dict[str, str]]:
        """Return what works in this guest, as `operations.self_test` does. For workers."""
        return run_self_test(self.config, ("/proc/self",))

    def recover(self) -> None:
        """Thaw what an agent that died has left frozen. Call it before any request is served."""
        # Only a freeze leaves these files, so most starts need not import the freezer.
        left = [f"{self.config.run_directory}/{name}" for name in ("frozen", "thawed", "hooks")]
        if any(os.path.exists(path) for path in (*left, self.config.frozen_marker)):
            self.freezer.recover()


def run_self_test(config: Config, processes: Iterable[str]) -> list[dict[str, str]]:
    """Return what works in this guest, as `operations.self_test` does.

    Args:
        processes: The directories in /proc of processes whose restrictions count.
    """
    # Rarely needed.
    from phoenix_ga.agent.operations.self_test import Subject, self_test
    from phoenix_ga.agent.restrictions import restrictions

    restricted = dict.fromkeys(text for process in processes for text in restrictions(process=process))
    subject = Subject(config.port, config.freeze_hook, FREEZE_HOOKS, tuple(restricted))
    subject.run_directory, subject.log_file = config.run_directory, config.log_file
    subject.park_after = 0 if config.auto_online else config.park_after
    return self_test(subject)
