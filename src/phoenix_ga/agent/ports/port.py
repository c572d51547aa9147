"""The base class of ports."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from phoenix_ga.agent.protocol.scheduler import Scheduler

# How long to wait before a retry if the kernel cannot report when to retry, in seconds.
RETRY_PAUSE = 1.0


class Parked:
    """What a port leaves to the waiter and to the agent that it becomes.

    Args:
        fd: The file descriptor that reports what happens.
        state: What the port needs to know afterwards, as JSON.
        hung_up: It is a port whose host end is closed.
    """

    def __init__(self, fd: int, state: dict[str, Any], hung_up: bool = False) -> None:
        self.fd = fd
        self.state = state
        self.hung_up = hung_up


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

    def start(self, parked: Parked | None = None) -> None:
        """Begin to serve clients.

        Args:
            parked: What `park` returned before the agent parked.

        Raises:
            OSError: The port can never be served.
        """
        raise NotImplementedError

    def park(self) -> Parked | None:
        """Return what is needed while the agent is parked, or None if a client needs it awake."""
        raise NotImplementedError

    def end_streams(self) -> None:
        """Reset the streams of all clients, because the agent is about to end."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop serving, and close all connections."""
        raise NotImplementedError
