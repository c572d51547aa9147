"""The hub's connection to one guest: opened if a client needs it, closed if nobody does for a while."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

from phoenix_ga.client.errors import ConnectionLostError, EndpointError, PhoenixError
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.keepalive import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Keepalive
from phoenix_ga.client.resolve import open_endpoint
from phoenix_ga.client.transport import StreamTransport, Transport
from phoenix_ga.hub.handshake import BothHandshakes
from phoenix_ga.hub.router import Client, Observer, Router
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import Answer, MessageError, make_answer
from phoenix_ga.wire.units import Line, Parser, resync_padding

if TYPE_CHECKING:
    from phoenix_ga.wire.units import Unit

# Seconds until the handshake is repeated; doubled each time.
_FIRST_PATIENCE: Final = 0.5
# Seconds between attempts to open the port.
_RETRY_FIRST: Final = 0.5
_RETRY_MAX: Final = 5.0
# Bytes of frames of one client that wait to be sent; beyond, the hub stops reading from the client.
_FRAMES_MAX: Final = 1024 * 1024


class Link:
    """The connection to a guest, and its router.

    Args:
        guest: the guest.
        observer: decides about the requests of clients.
        linger: seconds that the port stays open without clients.

    Attributes:
        router: of the guest's clients.
        error: why the guest is not connected, or an empty string.
    """

    def __init__(self, guest: KnownGuest, observer: Observer, linger: float) -> None:
        self.guest = guest
        self.router = Router(self, observer, self._want)
        self.error = ""
        self.received = self.sent = 0
        self._linger = linger
        self._transport: Transport | None = None
        self._keepalive: Keepalive | None = None
        self._lines: deque[bytes] = deque()
        self._frames: dict[Client, deque[bytes]] = {}
        self._frame_bytes: dict[Client, int] = {}
        self._has_output = asyncio.Event()
        self._has_room = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # For the router

    def send(self, line: bytes) -> None:
        """Send a line, before any frame."""
        if self._keepalive is not None and not (self._lines or self._frames):
            line = self._keepalive.begin() + line
            # The usual case, without a task that has to wake up.
            if isinstance(self._transport, StreamTransport) and self._transport.write_now(line):
                self.sent += len(line)
                self._keepalive.sent()
                return
        self._queue_line(line)

    def send_frame(self, client: Client, frame: bytes) -> None:
        """Send a frame; clients take turns."""
        self._frames.setdefault(client, deque()).append(frame)
        self._frame_bytes[client] = self._frame_bytes.get(client, 0) + len(frame)
        self._has_output.set()

    # For the server

    def is_full(self, client: Client) -> bool:
        """Whether nothing more should be read from a client for now."""
        return client.is_full or self._frame_bytes.get(client, 0) > _FRAMES_MAX

    async def wait_for_room(self) -> None:
        """Wait until some frames were sent."""
        self._has_room.clear()
        await self._has_room.wait()

    def client_came(self) -> None:
        """Note that there is a client."""
        self._cancel_timer()

    def client_went(self) -> None:
        """Note that a client has left; without any, the port is closed after a while."""
        if not self.router.clients and self._main is not None:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._let_go)

    async def close(self, reason: str = "the hub has released the port") -> None:
        """Close the port now."""
        self._cancel_timer()
        main, self._main = self._main, None
        if main is not None:
            main.cancel()
            await asyncio.wait({main})
            self._fail(reason)

    @property
    def is_open(self) -> bool:
        """Whether the hub holds the port, or tries to."""
        return self._main is not None

    # The connection

    def _want(self) -> None:
        if self._main is None:
            self._main = asyncio.get_running_loop().create_task(self._run())
            self._main.add_done_callback(_retrieve)

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
        self._frames.clear()
        self._frame_bytes.clear()
        self._has_room.set()
        self.router.down(
            f"the link to guest {self.guest.name} was lost: {reason}" if reason else "the port is closed"
        )

    async def _serve(self, transport: Transport) -> None:
        handshake = BothHandshakes()
        parser = Parser(lines_only=True)
        parser.receive(await self._shake_hands(transport, handshake))
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
        tasks = [
            asyncio.ensure_future(self._read(transport, parser, keepalive)),
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
                    raise ConnectionLostError("the guest's side closed the connection")
                rest = handshake.receive(data)
                if rest is not None:
                    return rest
                reading = asyncio.ensure_future(transport.read())
        finally:
            reading.cancel()

    async def _read(self, transport: Transport, parser: Parser, keepalive: Keepalive) -> None:
        while True:
            for unit in parser:
                if not _is_for(keepalive, unit):
                    self.router.receive_from_guest(unit)
            data = await transport.read()
            if not data:
                raise ConnectionLostError("the guest's side closed the connection")
            self.received += len(data)
            keepalive.heard()
            parser.receive(data)

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
        size = self._frame_bytes.get(client, 0) - len(frame)
        if size > 0:
            self._frame_bytes[client] = size
        else:
            self._frame_bytes.pop(client, None)
        self._has_room.set()
        return frame


def _is_for(keepalive: Keepalive, unit: Unit) -> bool:
    """Return whether a unit answers the question of the keepalive. Raises ConnectionLostError."""
    if not isinstance(unit, Line) or b"-alive-" not in unit.data[-64:]:
        return False
    try:
        answer: Answer = make_answer(decode_json(unit.data))
    except (JsonError, MessageError):
        return False
    return keepalive.receive(answer)


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
