"""The base class of ports."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.protocol.scheduler import Scheduler

# How long to wait before a retry if the kernel cannot report when to retry, in seconds.
RETRY_PAUSE = 1.0


class Port:
    """A place where clients connect.

    Args:
        name: As the option `port` gives it.
        settled: Called when no answers are pending.
    """

    def __init__(self, name: str, scheduler: Scheduler, settled: Callable[[], None]) -> None:
        self.name = name
        self._scheduler = scheduler
        self._loop = scheduler.loop
        self._context = scheduler.dispatcher.context
        self._log = self._context.log
        self._settled = settled

    @property
    def busy(self) -> bool:
        """Whether answers are pending."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to serve clients. Raises OSError if the port can never be served."""
        raise NotImplementedError

    def end_streams(self) -> None:
        """Reset the streams of all clients, because the agent is about to end."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop serving, and close all connections."""
        raise NotImplementedError
