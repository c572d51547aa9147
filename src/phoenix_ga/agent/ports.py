"""Ports: where clients come from. A device that is opened, or a socket that is listened on."""

from __future__ import annotations

import os
import stat
from errno import EBUSY, EIO, ENODEV
from time import monotonic

from phoenix_ga.agent.channel import Channel
from phoenix_ga.agent.log import DEBUG, ERR, INFO, WARNING
from phoenix_ga.agent.path_wait import PathWait
from phoenix_ga.agent.session import ARRIVAL_TIME, Conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.dispatch import Dispatcher
    from phoenix_ga.agent.log import Log
    from phoenix_ga.agent.loop import Loop, Timer


# How long to wait where the kernel can't tell when to try again, in seconds.
_RETRY_PAUSE: Final = 1.0
# Strangers that try again and again get one line in the log in so many seconds.
_REFUSALS_PAUSE: Final = 10.0


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


class DevicePort(Port):
    """A character device: a virtio-serial port or, with `raw`, a tty that is put into raw mode.

    The device stays open while clients come and go. Where it can't be opened, or goes away, it is
    waited for.
    """

    def __init__(
        self, name: str, loop: Loop, dispatcher: Dispatcher, settled: Callable[[], None], raw: bool = False
    ) -> None:
        super().__init__(name, loop, dispatcher, settled)
        self.path = name.partition(":")[2] if raw else name
        self._raw = raw
        self._channel: Channel | None = None
        self._conversation: Conversation | None = None
        self._wait: PathWait | Timer | None = None
        self._opened_at = 0.0
        self._reported = ""

    @property
    def busy(self) -> bool:
        return self._conversation is not None and self._conversation.busy

    def start(self) -> None:
        try:
            self._open()
        except OSError as error:
            if not self._dispatcher.context.config.waits_for_ports:
                raise
            self._wait_after(error)

    def close(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self._leave()

    def _open(self) -> None:
        if not stat.S_ISCHR(os.stat(self.path).st_mode):
            raise OSError(ENODEV, "it is no character device; to listen on a Unix socket, write unix:PATH")
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if self._raw:
                _set_raw(fd)
            self._channel = Channel(
                self._loop, fd, self._received, self._ended, self._left, self._drained, self._lost
            )
            self._conversation = Conversation(self._loop, self._dispatcher, self._channel, self.name, self._settled)
            self._channel.start()
        except OSError:
            os.close(fd)
            self._channel = self._conversation = None
            raise
        self._reported = ""
        self._opened_at = monotonic()
        self._log.write(INFO, f"{self.name}: open")

    def _wait_after(self, error: OSError) -> None:
        """Wait for a change of the path, and try again then."""
        reason = error.strerror or str(error)
        if reason != self._reported:
            self._reported = reason
            self._log.write(WARNING, f"{self.name}: waiting for it: {reason}")
        try:
            self._wait = PathWait(self._loop, self.path, self._retry, busy=error.errno == EBUSY)
        except (OSError, ImportError):
            self._wait = self._loop.call_later(_RETRY_PAUSE, self._retry)
        # It may have come while the wait was being set up.
        try:
            self._open()
        except OSError:
            return
        self._wait.cancel()
        self._wait = None

    def _retry(self) -> None:
        self._wait = None
        self.start()

    def _leave(self) -> None:
        if self._conversation is not None:
            self._conversation.hang_up()
            self._conversation = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _received(self, data: memoryview) -> None:
        assert self._conversation is not None
        self._conversation.received(data)

    def _drained(self) -> None:
        if self._conversation is not None:
            self._conversation.drained()

    def _left(self) -> None:
        assert self._conversation is not None
        self._log.write(DEBUG, f"{self.name}: the host closed it")
        self._conversation.leave()

    def _ended(self) -> None:
        assert self._channel is not None
        assert self._conversation is not None
        if self._raw:
            # A tty that was hung up stays so for whoever has it open.
            self._lost(OSError(EIO, "hung up"))
            return
        self._channel.see(connected=False)
        if self._conversation.unfinished:
            self._loop.call_later(ARRIVAL_TIME, self._forget_unless_connected)

    def _forget_unless_connected(self) -> None:
        if self._channel is not None and self._conversation is not None:
            self._channel.look()
            if not self._channel.connected:
                self._conversation.hang_up()

    def _lost(self, error: OSError) -> None:
        self._leave()
        if not self._dispatcher.context.config.waits_for_ports:
            self._log.write(ERR, f"{self.name}: {error.strerror}")
            self._dispatcher.context.stop()
        elif monotonic() - self._opened_at > _RETRY_PAUSE:
            self._wait_after(error)
        else:
            # A device on its way out can still be opened, only to be lost again.
            self._wait = self._loop.call_later(_RETRY_PAUSE, self._retry)


class ListeningPort(Port):
    """A socket that is listened on; each connection is a conversation of its own."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        dispatcher: Dispatcher,
        settled: Callable[[], None],
        listen: Callable[[], Listener],
    ) -> None:
        super().__init__(name, loop, dispatcher, settled)
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

    def start(self) -> None:
        self._listener = self._listen()
        self._loop.watch(self._listener.fileno(), self._accept)
        self._log.write(INFO, f"{self.name}: listening")

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
            config = self._dispatcher.context.config
            is_full = len(self._connections) >= config.max_clients
            if is_full and config.clients_queue:
                return
            try:
                fd = self._listener.accept()
            except BlockingIOError:
                return
            except (PermissionError, ConnectionAbortedError) as error:
                # This one came to nothing; others may wait behind it.
                self._report_refusal(error.strerror or str(error))
                continue
            except OSError as error:
                # No file descriptor or no memory left: the client stays in the queue of the socket.
                self._accept_later(error.strerror or str(error))
                return
            if is_full:
                self._report_refusal(f"{len(self._connections)} are connected")
                os.close(fd)
                continue
            self._reported = ""
            self._connections.add(Connection(self, fd, self._loop, self._dispatcher, self._settled))

    def _accept_later(self, reason: str) -> None:
        if self._reported != reason:
            self._reported = reason
            self._log.write(WARNING, f"{self.name}: cannot take a client now: {reason}")
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_PAUSE, self._accept_again)

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
        if self._listener is not None and self._dispatcher.context.config.clients_queue:
            self._loop.call_soon(self._accept)


class Connection:
    """One accepted connection, closed when its client has left and has its answers."""

    def __init__(
        self, port: ListeningPort, fd: int, loop: Loop, dispatcher: Dispatcher, settled: Callable[[], None]
    ) -> None:
        self._port = port
        self._dispatcher = dispatcher
        self._settled = settled
        self._no_more = False
        self._closed = False
        self._channel = Channel(
            loop, fd, self._received, self._ended, self._left, self._drained, self._lost, connected=True
        )
        self._conversation = Conversation(loop, dispatcher, self._channel, port.name, self._conversation_settled)
        self._channel.start()

    @property
    def busy(self) -> bool:
        return self._conversation.busy

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._conversation.hang_up()
        self._channel.close()
        self._port.forget(self)
        self._settled()

    def _received(self, data: memoryview) -> None:
        self._conversation.received(data)

    def _drained(self) -> None:
        self._conversation.drained()

    def _conversation_settled(self) -> None:
        if self._no_more:
            self.close()
        else:
            self._settled()

    def _ended(self) -> None:
        # A client that only stopped sending, as `echo ... | socat` does, still wants its answers.
        self._no_more = True
        if not (self._channel.connected and self.busy):
            self.close()

    def _left(self) -> None:
        # What it has asked for is still read and done, up to the end, which closes the connection. An
        # agent that stops reads no more.
        if self._dispatcher.stopping:
            self._no_more = True
        self._conversation.leave()

    def _lost(self, error: OSError) -> None:
        self.close()


class Listener:
    """A listening socket that hands out the file descriptors of peers that may connect."""

    def fileno(self) -> int:
        """Return the file descriptor to watch."""
        raise NotImplementedError

    def accept(self) -> int:
        """Return the file descriptor of the next connection, non-blocking.

        Raises BlockingIOError where there is none, PermissionError where its peer may not connect,
        OSError where it failed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Listen no more."""
        raise NotImplementedError


def _set_raw(fd: int) -> None:
    """Put a tty into raw mode at 38400 bit/s, as QEMU's isa-serial clients expect."""
    import termios

    try:
        mode = termios.tcgetattr(fd)
        mode[:6] = [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, termios.B38400, termios.B38400]
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, mode)
    except termios.error as error:
        raise OSError(*error.args) from None


def make_port(name: str, loop: Loop, dispatcher: Dispatcher, settled: Callable[[], None]) -> Port:
    """Return the port that `name` means, as the option `port` describes it. Raises ValueError."""
    kind, colon, address = name.partition(":")
    if colon and kind == "tty":
        return DevicePort(name, loop, dispatcher, settled, raw=True)
    if colon and kind in ("unix", "vsock", "fd"):
        # The socket module costs memory that an agent on a virtio-serial port does not need.
        from phoenix_ga.agent import listeners

        make = {
            "unix": listeners.unix_listener,
            "vsock": listeners.vsock_listener,
            "fd": listeners.inherited_listener,
        }[kind](address)
        return ListeningPort(name, loop, dispatcher, settled, make)
    if not name.startswith("/"):
        raise ValueError(f"port {name!r} is neither an absolute path nor unix:PATH, vsock:PORT or tty:PATH")
    return DevicePort(name, loop, dispatcher, settled)
