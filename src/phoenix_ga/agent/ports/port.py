"""A port: a place where clients come from."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.core.log import Log
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.protocol.dispatch import Dispatcher

# How long to wait before a retry if the kernel cannot tell when to retry, in seconds.
RETRY_PAUSE = 1.0


class Port:
    """A place where clients come. settled: is called when no more answers are due there."""

    def __init__(self, name: str, loop: Loop, dispatcher: Dispatcher, settled: Callable[[], None]) -> None:
        self.name = name
        self._loop = loop
        self._dispatcher = dispatcher
        self._settled = settled

    @property
    def _log(self) -> Log:
        return self._dispatcher.context.log

    @property
    def busy(self) -> bool:
        """Whether answers are due or on their way."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to serve clients. Raises OSError where the port can never be served."""
        raise NotImplementedError

    def close(self) -> None:
        """Serve no more."""
        raise NotImplementedError
