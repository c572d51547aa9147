"""What a handler may use of the running agent."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.config import Config
    from phoenix_ga.agent.operations.files import Handles
    from phoenix_ga.agent.operations.freeze import Freezer


class Context:
    """The state that requests share, whichever port they came by.

    config: the options in force. handles: the files that `file-open` opened. freezer: what is
    frozen.
    """

    __slots__ = ("config", "freezer", "handles")

    def __init__(self, config: Config, handles: Handles, freezer: Freezer) -> None:
        self.config = config
        self.handles = handles
        self.freezer = freezer
