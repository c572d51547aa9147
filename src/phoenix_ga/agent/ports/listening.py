"""Ports that listen on a socket. Each connection is a conversation."""

from __future__ import annotations

import os
from time import monotonic

from phoenix_ga.agent.core.channel import Channel
from phoenix_ga.agent.core.log import INFO, WARNING
from phoenix_ga.agent.ports.port import RETRY_PAUSE, Parked, Port
from phoenix_ga.agent.protocol.conversation import Conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.core.loop import Timer
    from phoenix_ga.agent.protocol.scheduler import Scheduler

# Interval of log lines about refused clients, which may retry in a loop, in seconds.
_REFUSALS_PAUSE: Final = 10.0


class Listener:
    """A listening socket that accepts only peers that may talk to the agent."""

    def fileno(self) -> int:
        """Return the file descriptor to watch."""
        raise NotImplementedError

    def accept(self) -> int:
        """Return the file descriptor of the next connection, in non-blocking mode.

        Raises:
            BlockingIOError: No connection is waiting.
            PermissionError: The peer may not connect.
            OSError: It failed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening."""
        raise NotImplementedError


class ListeningPort(Port):
    """A listening socket. Each connection is a conversation."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        settled: Callable[[], None],
        listen: Callable[[int | None], Listener],
    ) -> None:
        super().__init__(name, scheduler, settled)
        self._listen = listen
        self._listener: Listener | None = None
        self._connections: set[Connection] = set()
        self._retry: Timer | None = None
        self._reported = ""
        self._reported_at = -_REFUSALS_PAUSE
        self._unreported = 0

    @property
    def busy(self) -> bool:
        return any(connection.busy for connection in self._connections)

    def start(self, parked: Parked | None = None) -> None:
        self._listener = self._listen(None if parked is None else parked.fd)
        self._loop.watch(self._listener.fileno(), self._accept)
        if parked is None:
            self._log.write(INFO, f"{self.name}: listening")

    def park(self) -> Parked | None:
        if self._listener is None or self._connections:
            return None
        return Parked(self._listener.fileno(), {})

    def end_streams(self) -> None:
        for connection in list(self._connections):
            connection.end_streams()

    def close(self) -> None:
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._retry is not None:
            self._retry.cancel()
        for connection in list(self._connections):
            connection.close()

    def _accept(self, events: int = 0) -> None:
        while self._listener is not None:
            config = self._context.config
            is_full = len(self._connections) >= config.max_clients
            if is_full and config.clients_queue:
                return
            try:
                fd = self._listener.accept()
            except BlockingIOError:
                return
            except (PermissionError, ConnectionAbortedError) as error:
                # Others may wait behind this one.
                self._report_refusal(error.strerror or str(error))
                continue
            except OSError as error:
                # No descriptor or no memory is left: the client stays in the queue of the socket.
                self._accept_later(error.strerror or str(error))
                return
            if is_full:
                self._report_refusal(f"{len(self._connections)} are connected")
                os.close(fd)
                continue
            try:
                connection = Connection(self, fd, self._scheduler, self._settled)
            except OSError as error:
                os.close(fd)
                self._report_refusal(error.strerror or str(error))
                continue
            self._reported = ""
            self._connections.add(connection)

    def _accept_later(self, reason: str) -> None:
        if self._reported != reason:
            self._reported = reason
            self._log.write(WARNING, f"{self.name}: cannot take a client now: {reason}")
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_PAUSE, self._accept_again)

    def _accept_again(self) -> None:
        self._retry = None
        self._accept()

    def _report_refusal(self, reason: str) -> None:
        self._unreported += 1
        if monotonic() - self._reported_at < _REFUSALS_PAUSE:
            return
        more = f" (and {self._unreported - 1} more since the last such line)" if self._unreported > 1 else ""
        self._log.write(WARNING, f"{self.name}: refused a client: {reason}{more}")
        self._reported_at = monotonic()
        self._unreported = 0

    def forget(self, connection: Connection) -> None:
        """The connection was closed."""
        self._connections.discard(connection)
        if self._listener is not None and self._context.config.clients_queue:
            self._loop.call_soon(self._accept)


class Connection:
    """One accepted connection, closed when its client has left and all answers are sent."""

    def __init__(self, port: ListeningPort, fd: int, scheduler: Scheduler, settled: Callable[[], None]) -> None:
        self._port = port
        self._scheduler = scheduler
        self._settled = settled
        self._closed = False
        self._channel = Channel(scheduler.loop, fd, connected=True)
        talk = self._conversation = Conversation(scheduler, self._channel, port.name, self._conversation_settled)
        self._channel.start(talk.received, talk.drained, self._ended, self._left, self._lost)

    @property
    def busy(self) -> bool:
        return self._conversation.busy

    def end_streams(self) -> None:
        """Reset the client's streams, because the agent is about to end."""
        self._conversation.end_streams()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._conversation.hang_up()
        self._channel.close()
        self._port.forget(self)
        self._settled()

    def _conversation_settled(self) -> None:
        if self._conversation.ending:
            self.close()
        else:
            self._settled()

    def _ended(self) -> None:
        # A client that stopped sending, as `echo ... | socat` does, still wants its answers.
        self._conversation.ending = True
        if not (self._channel.connected and self.busy):
            self.close()

    def _left(self) -> None:
        # Its requests are still read and run; the end of the input closes the connection. An agent that is stopping
        # reads no more.
        if self._scheduler.stopping:
            self._conversation.ending = True
        self._conversation.leave()

    def _lost(self, error: OSError) -> None:
        self.close()
