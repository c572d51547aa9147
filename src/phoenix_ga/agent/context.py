"""What a handler may use of the running agent."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.config import Config
    from phoenix_ga.agent.log import Log
    from phoenix_ga.agent.operations.files import Handles
    from phoenix_ga.agent.operations.freeze import Freezer
    from phoenix_ga.agent.policy import Policy


class Context:
    """The state that requests share, whichever port they came by.

    config: the options in force. policy: which commands may run. log: where to tell what happened.
    handles: the files that `file-open` opened. freezer: what is frozen. stop: asks the agent to end.
    """

    __slots__ = ("config", "freezer", "handles", "log", "policy", "stop")

    def __init__(
        self,
        config: Config,
        policy: Policy,
        log: Log,
        handles: Handles,
        freezer: Freezer,
        stop: Callable[[], None],
    ) -> None:
        self.config = config
        self.policy = policy
        self.log = log
        self.handles = handles
        self.freezer = freezer
        self.stop = stop
