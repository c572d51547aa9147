"""Ports that are character devices: virtio-serial ports and ttys."""

from __future__ import annotations

import os
import stat
from errno import EBUSY, EIO, ENODEV
from time import monotonic

from phoenix_ga.agent.core.channel import Channel
from phoenix_ga.agent.core.log import DEBUG, ERR, INFO, WARNING
from phoenix_ga.agent.linux.threads import start_thread
from phoenix_ga.agent.ports.path_wait import PathWait
from phoenix_ga.agent.ports.port import RETRY_PAUSE, Parked, Port
from phoenix_ga.agent.protocol.conversation import ARRIVAL_TIME, Conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.core.loop import Timer
    from phoenix_ga.agent.protocol.scheduler import Scheduler


class DevicePort(Port):
    """A character device: a virtio-serial port, or a tty.

    The device stays open while clients come and go. If it cannot be opened, or goes away, the agent waits for it.

    Args:
        raw: It is a tty, which is put into raw mode.
    """

    def __init__(self, name: str, scheduler: Scheduler, settled: Callable[[], None], raw: bool = False) -> None:
        super().__init__(name, scheduler, settled)
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

    def start(self, parked: Parked | None = None) -> None:
        if parked is not None:
            self._reported = parked.state.get("reported", "")
            if self._adopt(parked):
                return
        try:
            self._open()
        except OSError as error:
            if not self._context.config.waits_for_ports:
                raise
            self._wait_after(error)

    def _adopt(self, parked: Parked) -> bool:
        """Serve the device that was open, and return whether there is one."""
        try:
            if "session" in parked.state:
                self._serve(parked.fd, connected=not parked.hung_up).restore(parked.state)
                return True
        except OSError:
            self._channel = self._conversation = None
        # The path was missing, and may be there now.
        os.close(parked.fd)
        return False

    def park(self) -> Parked | None:
        if self._channel is not None and self._conversation is not None:
            state = self._conversation.park()
            # A tty that reports a hang-up is lost.
            hung_up = not self._channel.connected and not self._raw
            return None if state is None else Parked(self._channel.fd, state, hung_up)
        if isinstance(self._wait, PathWait):
            return Parked(self._wait.fileno(), {"reported": self._reported})
        return None

    def end_streams(self) -> None:
        if self._conversation is not None:
            self._conversation.end_streams()

    def close(self) -> None:
        # The host keeps the port open: nothing else tells the client.
        self.end_streams()
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self._leave()

    def _open(self) -> None:
        if not stat.S_ISCHR(os.stat(self.path).st_mode):
            raise OSError(ENODEV, "not a character device; to listen on a Unix socket, write unix:PATH")
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if self._raw:
                _set_raw(fd)
            self._serve(fd)
        except OSError:
            os.close(fd)
            self._channel = self._conversation = None
            raise
        self._reported = ""
        self._log.write(INFO, f"{self.name}: open")

    def _serve(self, fd: int, connected: bool = False) -> Conversation:
        channel = self._channel = Channel(self._loop, fd, connected)
        talk = self._conversation = Conversation(self._scheduler, channel, self.name, self._settled)
        channel.start(talk.received, talk.drained, self._ended, self._left, self._lost)
        self._opened_at = monotonic()
        return talk

    def _wait_after(self, error: OSError) -> None:
        """Wait for the path to change, then retry."""
        reason = error.strerror or str(error)
        if reason != self._reported:
            self._reported = reason
            self._log.write(WARNING, f"{self.name}: waiting for it: {reason}")
            if error.errno == EBUSY:
                self._log_users()
        try:
            self._wait = PathWait(self._loop, self.path, self._retry, busy=error.errno == EBUSY)
        except (OSError, ImportError) as error:
            self._log.write(DEBUG, f"{self.name}: trying again every {RETRY_PAUSE:g} s: {error}")
            self._wait = self._loop.call_later(RETRY_PAUSE, self._retry)
        # The device may have appeared while the wait was set up.
        try:
            self._open()
        except OSError:
            return
        self._wait.cancel()
        self._wait = None

    def _log_users(self) -> None:
        """Log which processes have the device, found on a thread, because /proc may be large."""

        def find() -> None:
            from phoenix_ga.agent.linux.open_files import users_of

            users = " and ".join(users_of(self.path))
            if users:
                self._loop.call_from_thread(self._log.write, WARNING, f"{self.name}: it is open in {users}")

        try:
            start_thread(find, "finding out who has a port")
        except OSError as error:
            self._log.write(DEBUG, f"{self.name}: {error.strerror}")

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

    def _left(self) -> None:
        assert self._conversation is not None
        self._log.write(DEBUG, f"{self.name}: the host closed it")
        self._conversation.leave()

    def _ended(self) -> None:
        assert self._channel is not None
        assert self._conversation is not None
        if self._raw:
            # A tty that was hung up stays so for all its open descriptors.
            self._lost(OSError(EIO, "hung up"))
            return
        self._channel.set_connected(connected=False)
        if self._conversation.unfinished:
            self._loop.call_later(ARRIVAL_TIME, self._forget_unless_connected)

    def _forget_unless_connected(self) -> None:
        if self._channel is not None and self._conversation is not None:
            self._channel.poll_connected()
            if not self._channel.connected:
                self._conversation.hang_up()

    def _lost(self, error: OSError) -> None:
        self._leave()
        if not self._context.config.waits_for_ports:
            self._log.write(ERR, f"{self.name}: {error.strerror}")
            self._context.stop()
        elif monotonic() - self._opened_at > RETRY_PAUSE:
            self._wait_after(error)
        else:
            # A device that is being removed can still be opened, only to be lost again.
            self._wait = self._loop.call_later(RETRY_PAUSE, self._retry)


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
