"""The hub's connection to one guest: opened if a client needs it, closed if nobody does for a while."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from phoenix_ga.client.errors import ConnectionLostError, EndpointError, PhoenixError
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.keepalive import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Keepalive
from phoenix_ga.client.resolve import open_endpoint
from phoenix_ga.client.transport import SocketTransport, Transport
from phoenix_ga.hub.direct_loop import DirectSocket
from phoenix_ga.hub.handshake import BothHandshakes
from phoenix_ga.hub.router import Client, Observer, Router
from phoenix_ga.wire.messages import MessageError, make_answer
from phoenix_ga.wire.units import resync_padding

# Seconds until the handshake is repeated; doubled each time.
_FIRST_PATIENCE: Final = 0.5
# Seconds between attempts to open the port.
_RETRY_FIRST: Final = 0.5
_RETRY_MAX: Final = 5.0
_CLOSED: Final = "the guest's side closed the connection"


class Link:
    """The connection to a guest, and its router.

    Args:
        guest: the guest.
        observer: decides about the requests of clients.
        linger: seconds that the port stays open without clients.
        changed: is called when `state` has changed.

    Attributes:
        router: of the guest's clients.
        linger: as above; it may be changed.
        error: why the guest is not connected, or an empty string.
    """

    def __init__(self, guest: KnownGuest, observer: Observer, linger: float, changed: Callable[[], None]) -> None:
        self.guest = guest
        self.router = Router(self, observer, self._want)
        self.error = ""
        self.received = self.sent = 0
        self.linger = linger
        self._changed = changed
        self._transport: Transport | None = None
        # The transport's, if the guest's port is one.
        self._socket: DirectSocket | None = None
        self._keepalive: Keepalive | None = None
        self._lines: deque[bytes] = deque()
        self._frames: dict[Client, deque[bytes]] = {}
        self._has_output = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # For the router

    def send(self, line: bytes, first: bool) -> None:
        """Send a line, before any frame."""
        if first and self._keepalive is not None:
            line = self._keepalive.begin() + line
        if not self._write_now(line):
            self._queue_line(line)

    def send_frame(self, client: Client, *pieces: bytes | memoryview) -> None:
        """Send a frame; clients take turns."""
        if not self._write_now(*pieces):
            frame = b"".join(pieces)
            self._frames.setdefault(client, deque()).append(frame)
            client.unsent += len(frame)
            self._has_output.set()

    def receive_other(self, message: dict[str, Any]) -> None:
        """Process an answer to none of the router's requests. Raises ConnectionLostError."""
        with suppress(MessageError):
            if self._keepalive is not None:
                self._keepalive.receive(make_answer(message))

    # For the server

    def client_came(self) -> None:
        """Note that there is a client."""
        self._cancel_timer()

    def client_went(self) -> None:
        """Note that a client has left; without any, the port is closed after a while."""
        if not self.router.clients and self._main is not None:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(self.linger, self._let_go)

    async def close(self, reason: str = "the hub has released the port") -> None:
        """Close the port now."""
        self._cancel_timer()
        main, self._main = self._main, None
        if main is not None:
            main.cancel()
            await asyncio.wait({main})
            self._fail(reason)

    @property
    def state(self) -> str:
        """`connected`, `connecting`, or `closed` if no client needs the guest."""
        return "connected" if self.router.is_connected else "closed" if self._main is None else "connecting"

    # The connection

    def _want(self) -> None:
        if self._main is None:
            self._main = asyncio.get_running_loop().create_task(self._run())
            self._main.add_done_callback(_retrieve)
            self._changed()

    def _let_go(self) -> None:
        self._timer = None
        if self.router.clients:
            return
        if self.router.owes:
            self.client_went()
        else:
            main, self._main = self._main, None
            if main is not None:
                main.cancel()
                self._fail("the port is closed")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        pause = _RETRY_FIRST
        while True:
            try:
                self._transport = transport = await open_endpoint(self.guest, direct=True)
            except (PhoenixError, OSError) as error:
                self._fail(str(error))
                if isinstance(error, EndpointError):
                    return
            else:
                try:
                    await self._serve(transport)
                except (PhoenixError, OSError) as error:
                    self._fail(str(error))
                finally:
                    await transport.close()
                pause = _RETRY_FIRST
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MAX)

    def _fail(self, reason: str) -> None:
        """Tell the router that the guest is gone."""
        self.error = reason
        self._transport = None
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        self._lines.clear()
        while self._frames:
            self._next_frame()
        self.router.down(
            f"the link to guest {self.guest.name} was lost: {reason}" if reason else "the port is closed"
        )
        self._changed()

    async def _serve(self, transport: Transport) -> None:
        handshake = BothHandshakes()
        rest = await self._shake_hands(transport, handshake)
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keepalive = Keepalive(
            KEEPALIVE_INTERVAL if handshake.native else None,
            KEEPALIVE_TIMEOUT,
            f"hub-{secrets.token_hex(4)}",
            lambda: self.router.owes,
            self._queue_line,
            lambda error: None if lost.done() else lost.set_exception(error),
        )
        if handshake.native:
            # Not later: an agent that has been restarted by then would be taken for the one that owes the answers.
            await transport.write(keepalive.ask())
        self._keepalive = keepalive
        self.error = ""
        self.router.up(handshake.native)
        self._changed()
        tasks = [
            asyncio.ensure_future(self._read(transport, rest)),
            asyncio.ensure_future(self._write(transport, keepalive)),
        ]
        try:
            done, _ = await asyncio.wait([*tasks, lost], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            lost.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _write_now(self, *pieces: bytes | memoryview) -> bool:
        """Write if nothing waits to be written, without a task that has to wake up. Return whether it was written."""
        if self._socket is None or self._lines or self._frames or not self._socket.write_now(pieces):
            return False
        self.sent += sum(map(len, pieces))
        if self._keepalive is not None:
            self._keepalive.sent()
        return True

    def _queue_line(self, line: bytes) -> None:
        self._lines.append(line)
        self._has_output.set()

    async def _shake_hands(self, transport: Transport, handshake: BothHandshakes) -> bytes:
        patience = _FIRST_PATIENCE
        await transport.write(handshake.request())
        reading = asyncio.ensure_future(transport.read())
        try:
            while True:
                await asyncio.wait({reading}, timeout=patience)
                if not reading.done():
                    self.error = self.error or "no agent answers"
                    patience = min(2 * patience, _RETRY_MAX)
                    await transport.write(resync_padding() + handshake.request())
                    continue
                data = reading.result()
                if not data:
                    raise ConnectionLostError(_CLOSED)
                rest = handshake.receive(data)
                if rest is not None:
                    return rest
                reading = asyncio.ensure_future(transport.read())
        finally:
            reading.cancel()

    async def _read(self, transport: Transport, rest: bytes) -> None:
        self._receive(rest)
        if isinstance(transport, SocketTransport):
            await self._read_directly(transport)
        while data := await transport.read():
            self._receive(data)
        raise ConnectionLostError(_CLOSED)

    async def _read_directly(self, transport: SocketTransport) -> None:
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receive(data: bytes) -> None:
            try:
                self._receive(data)
            except PhoenixError as error:
                end(error)

        def end(error: PhoenixError) -> None:
            direct.stop()
            if not lost.done():
                lost.set_exception(error)

        self._socket = direct = DirectSocket(
            transport.socket_transport, receive, lambda: end(ConnectionLostError(_CLOSED))
        )
        try:
            # What asyncio has read before.
            receive(transport.stop_reading())
            await lost
        finally:
            self._socket = None
            direct.stop()

    def _receive(self, data: bytes) -> None:
        self.received += len(data)
        if self._keepalive is not None:
            self._keepalive.heard()
        self.router.receive_from_guest(data)

    async def _write(self, transport: Transport, keepalive: Keepalive) -> None:
        while True:
            if not self._lines and not self._frames:
                self._has_output.clear()
                await self._has_output.wait()
            data = b"".join(self._lines) if self._lines else self._next_frame()
            self._lines.clear()
            await transport.write(data)
            self.sent += len(data)
            keepalive.sent()

    def _next_frame(self) -> bytes:
        """Return the next frame of the client whose turn it is."""
        client, frames = next(iter(self._frames.items()))
        del self._frames[client]
        frame = frames.popleft()
        if frames:
            self._frames[client] = frames
        client.unsent -= len(frame)
        if client.is_stopped and not client.is_full:
            client.port.go_on()
        return frame


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
