"""The socket on which the hub offers a guest."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable
from errno import EADDRINUSE, EMFILE, ENOMEM
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.hub_sockets import socket_name
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.hub.audit import Observer, Record
from phoenix_ga.hub.direct_loop import DirectSocket
from phoenix_ga.hub.link import Link
from phoenix_ga.hub.quotas import Quotas
from phoenix_ga.hub.router import Client
from phoenix_ga.hub.rules import Rules
from phoenix_ga.hub.users import User, peer_of
from phoenix_ga.wire.messages import encode_error

# Output that a client has not read: beyond the first, nothing more is read from it; beyond the second, it is dropped.
_UNREAD_HIGH: Final = 1024 * 1024
_UNREAD_MAX: Final = 128 * 1024 * 1024
_CLIENTS_OF_USER_MAX: Final = 256
_CLIENTS_MAX: Final = 1024


class GuestServer:
    """A guest's socket, its clients and the link to it.

    Args:
        guest: the guest.
        observer: applies the rules.
        quotas: bound what a user takes of the hub.
        directory: of the socket.
        linger: seconds that the port stays open without clients.
        tell: is called with the name of an event, and what belongs to it.
    """

    def __init__(
        self,
        guest: KnownGuest,
        observer: Observer,
        quotas: Quotas,
        directory: Path,
        linger: float,
        tell: Callable[..., None],
    ) -> None:
        self.guest = guest
        self.observer = observer
        self.quotas = quotas
        self.path = directory / socket_name(guest.name)
        self.tell = tell
        self._state = "closed"
        self.link = Link(guest, observer, linger, self._tell_state)
        self.connections: set[Connection] = set()
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._listener = await Listener.open(self.path, lambda: Connection(self))

    async def stop(self) -> None:
        """Close the socket, the clients and the link."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.abort()
        await self.link.close("the hub is stopping")

    def _tell_state(self) -> None:
        state, self._state = self._state, self.link.state
        if state != self._state:
            self.tell("port", state=self._state)

    def has_room(self, user: User) -> bool:
        """Return whether a user may have one more connection to this guest."""
        of_user = sum(connection.user.uid == user.uid for connection in self.connections)
        return of_user < _CLIENTS_OF_USER_MAX and len(self.connections) < _CLIENTS_MAX

    def apply(self, rules: Rules, linger: float, record: Record) -> None:
        """Apply a new configuration to all further requests."""
        self.observer.rules = rules
        self.observer.record = record
        self.link.linger = linger
        self.link.router.decide_again(lambda user: rules.knows(user, self.guest.name))


class Connection(asyncio.Protocol):
    """A client's connection.

    Attributes:
        user: who connected.
        since: when, in seconds since the epoch.
        received, sent: number of bytes from and to the client.
    """

    def __init__(self, server: GuestServer) -> None:
        self._server = server
        self._client: Client | None = None
        self._transport: asyncio.Transport | None = None
        self._unread = False
        self._leave: Callable[[], None] | None = None
        self._socket: DirectSocket | None = None
        self.user = User(-1, "unknown", frozenset())
        self.since = time.time()
        self.received = self.sent = 0

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connection: socket.socket = transport.get_extra_info("socket")
        try:
            self.user = peer_of(connection)
        except OSError:
            transport.abort()
            return
        guest = self._server.guest.name
        if not self._server.has_room(self.user):
            self._turn_away(transport, f"too many clients of guest {guest}")
            return
        self._leave = self._server.quotas.admit(self.user.uid, self)
        if self._leave is None:
            self._turn_away(transport, f"too many connections of user {self.user.name}")
            return
        transport.set_write_buffer_limits(_UNREAD_HIGH)
        may_use = self._server.observer.rules.knows(self.user, guest)
        self._client = self._server.link.router.attach(self, self.user, may_use)
        self._server.connections.add(self)
        self._server.link.client_came()
        self._server.tell("client-came", client=self.describe())

    def _turn_away(self, transport: asyncio.Transport, reason: str) -> None:
        transport.write(encode_error(reason, EMFILE))
        transport.close()

    def data_received(self, data: bytes) -> None:
        if self._client is not None:
            assert self._transport is not None
            self._socket = DirectSocket(self._transport, self._receive, self._read_end)
            self._receive(data)

    def eof_received(self) -> bool:
        if self._client is None or self._has_hung_up():
            return False
        self._server.link.router.finish(self._client)
        return True

    def pause_writing(self) -> None:
        self._unread = True
        self._throttle()

    def resume_writing(self) -> None:
        self._unread = False
        self._throttle()

    def connection_lost(self, error: Exception | None) -> None:
        client, self._client = self._client, None
        self._server.connections.discard(self)
        if self._leave is not None:
            self._leave()
        if self._socket is not None:
            self._socket.stop()
        if client is not None:
            self._server.link.router.detach(client)
            self._server.link.client_went()
            self._server.tell("client-went", client=self.describe())

    # For the router

    def send(self, *pieces: bytes | memoryview) -> None:
        """Send bytes without waiting; a client that reads too slowly is dropped."""
        if self._transport is not None and not self._transport.is_closing():
            self.sent += sum(map(len, pieces))
            if self._socket is not None and self._socket.write_now(pieces):
                return
            self._transport.write(b"".join(pieces))
            if self._transport.get_write_buffer_size() > _UNREAD_MAX:
                self._transport.abort()

    def close(self) -> None:
        """Send what is left, then close the connection."""
        if self._transport is not None:
            self._transport.close()

    def go_on(self) -> None:
        """Read again."""
        self._throttle()

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def held(self) -> int:
        """The number of bytes of requests that are kept."""
        return 0 if self._client is None else self._client.held

    @property
    def stream_count(self) -> int:
        """The number of open streams."""
        return 0 if self._client is None else self._server.link.router.stream_count(self._client)

    def describe(self) -> dict[str, Any]:
        """Return what the control socket tells of the client."""
        return {
            "user": self.user.name,
            "pid": self.user.pid,
            "program": self.user.program,
            "since": self.since,
            "streams": self.stream_count,
            "received": self.received,
            "sent": self.sent,
        }

    def _receive(self, data: bytes) -> None:
        if self._client is not None:
            self.received += len(data)
            if self._server.link.router.receive(self._client, data):
                if self._server.quotas.allows(self.user.uid, self):
                    self._throttle()
                else:
                    self.send(encode_error(f"too many bytes of unanswered requests of {self.user.name}", ENOMEM))
                    self.abort()

    def _read_end(self) -> None:
        """Let asyncio see the end of the socket, or its error."""
        assert self._transport is not None
        self._socket = None
        self._transport.resume_reading()

    def _has_hung_up(self) -> bool:
        """Return whether the client has closed its socket, and not only its sending side."""
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def _throttle(self) -> None:
        """Read from the client if there is room for what it sends, and if it reads what it is sent."""
        client, connection = self._client, self._socket
        if client is not None and connection is not None:
            client.is_stopped = client.is_full
            if self._unread or client.is_stopped:
                connection.pause()
            else:
                connection.resume()


class Listener:
    """A Unix socket to which every user may connect, because the rules decide."""

    def __init__(self, server: asyncio.AbstractServer, path: Path) -> None:
        self._server = server
        self._path = path
        self._inode = path.stat().st_ino

    @classmethod
    async def open(cls, path: Path, factory: Callable[[], asyncio.Protocol]) -> Listener:
        """Listen. Raises OSError.

        A socket that nobody listens on is replaced; one that another hub listens on is an error.
        """
        if not remove_stale(path):
            raise OSError(EADDRINUSE, "another hub listens on this socket", str(path))
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            path.chmod(0o666)
            server = await asyncio.get_running_loop().create_unix_server(factory, sock=listener, backlog=128)
        except BaseException:
            listener.close()
            raise
        return cls(server, path)

    def close(self) -> None:
        """Stop listening, and remove the socket if it is still ours."""
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def remove_stale(path: Path) -> bool:
    """Remove a socket that nobody listens on, as a hub that was killed leaves it. Return false if somebody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
            return True
    return False
