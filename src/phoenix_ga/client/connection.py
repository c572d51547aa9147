"""A connection to a guest: the handshake, then answers routed to the calls that wait for them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EPROTO
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.dialects import encode_call, make_any_answer
from phoenix_ga.client.errors import (
    ConnectError,
    ConnectionLostError,
    GuestTimeoutError,
    PhoenixError,
    ProtocolError,
    for_request,
    refusal,
)
from phoenix_ga.client.handshake import Handshake
from phoenix_ga.client.keepalive import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Keepalive
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transport import SocketTransport, Transport
from phoenix_ga.wire.commands import WINDOW_DEFAULT, WINDOW_MAX
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import ANSWER_ELEMENTS_MAX, NO_TAG, Answer, MessageError, Request
from phoenix_ga.wire.streams import Stream, StreamViolation
from phoenix_ga.wire.units import LINE_LIMIT, Frame, Line, Parser, resync_padding

if TYPE_CHECKING:
    from phoenix_ga.wire.units import Unit

# A running agent answers within milliseconds; after an unfinished frame of an earlier client it does not answer.
_FIRST_PATIENCE: Final = 0.5
_ELEMENTS_LEAST: Final = 10_000
# Requests after which the agent has a new session for this connection.
_SYNCS: Final = ("sync", "guest-sync", "guest-sync-delimited")

Trace = Callable[[str, bytes], None]


@dataclass(frozen=True)
class ExpectedStream:
    """A stream that an answer opens.

    Attributes:
        member: of the answer, that holds the stream number.
        window: bytes that the guest may send at first; 0 for none.
        sends: the client sends data.
        skips: the guest may send SKIP frames.
        optional: the answer may lack it.
        ends_both, on_data: as in `GuestStream`.
    """

    member: str
    window: int = WINDOW_DEFAULT
    sends: bool = True
    skips: bool = False
    optional: bool = False
    ends_both: bool = False
    on_data: Callable[[bytes], None] | None = None


class _Pending:
    """A request in flight. delivered: its caller has the answer."""

    __slots__ = ("answered", "delivered", "expected", "request", "streams")

    def __init__(
        self,
        request: Request,
        answered: asyncio.Future[tuple[Any, dict[str, GuestStream]]],
        expected: Sequence[ExpectedStream],
    ) -> None:
        self.request = request
        self.answered = answered
        self.expected = expected
        self.streams: tuple[GuestStream, ...] = ()
        self.delivered = False


class Connection:
    """A connection over a transport, which it owns. Use `Connection.open`."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        line_limit: int = LINE_LIMIT,
        trace: Trace | None = None,
        keepalive_interval: float | None = KEEPALIVE_INTERVAL,
        keepalive_timeout: float = KEEPALIVE_TIMEOUT,
    ) -> None:
        self.name = name
        self._transport = transport
        self._take = transport.read_view if isinstance(transport, SocketTransport) else transport.read
        self._trace = trace
        self._parser = Parser(line_limit, lines_only=True)
        # Values take more memory than their text, so the limit is proportional to that of the line.
        self._elements_max = max(ANSWER_ELEMENTS_MAX * line_limit // LINE_LIMIT, _ELEMENTS_LEAST)
        # Answers to other clients, and to earlier connections, have other prefixes.
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)
        self._pending: dict[str, _Pending] = {}
        self._streams: dict[int, GuestStream] = {}
        self._had_streams = False
        self._write_lock = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._broken: PhoenixError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._posted = bytearray()
        self._posting = False
        # Number of answers that belong to no request of this connection.
        self._garbage = 0
        # What the agent has answered to `get-digests`, once it was asked.
        self.digests: dict[str, int] | None = None
        self._keepalive = Keepalive(
            keepalive_interval,
            keepalive_timeout,
            self._prefix,
            lambda: bool(self._pending or self._streams),
            self._send_keepalive,
            self._lose,
        )

    def __repr__(self) -> str:
        state = "closed" if self._broken is not None else "open"
        return f"<Connection {self.name} {state}, {len(self._pending)} pending>"

    @classmethod
    async def open(
        cls,
        transport: Transport,
        name: str,
        *,
        timeout: float | None,
        began: float | None = None,
        line_limit: int = LINE_LIMIT,
        trace: Trace | None = None,
        keepalive_interval: float | None = KEEPALIVE_INTERVAL,
        keepalive_timeout: float = KEEPALIVE_TIMEOUT,
        rivals: Callable[[], str] | None = None,
        on_busy: Callable[[str], None] | None = None,
    ) -> Connection:
        """Do the handshake and return the connection.

        Args:
            name: of the endpoint, for messages.
            timeout: of the handshake, in seconds; None: no limit.
            began: when the time began to run, on the event loop's clock; None: now.
            line_limit: the longest answer accepted, in bytes.
            trace: is called with "sent" or "received" and the bytes.
            keepalive_interval, keepalive_timeout: as in `Keepalive`.
            rivals: returns which other clients have the port; it may block.
            on_busy: is called once with a text if there are any.

        Raises GuestTimeoutError, ConnectionLostError, ProtocolError if data arrives without end, and
        ConnectError if the agent does not know `sync`. The transport is closed then.
        """
        connection = cls(transport, name, line_limit, trace, keepalive_interval, keepalive_timeout)
        busy = ""

        async def look_for(rivals: Callable[[], str]) -> None:
            nonlocal busy
            pause = _FIRST_PATIENCE
            while True:
                await asyncio.sleep(pause)
                pause *= 2
                found = await asyncio.get_running_loop().run_in_executor(None, rivals)
                if found and not busy and on_busy is not None:
                    on_busy(f"{name}: waiting for {found}, which uses this port")
                busy = found

        looking = None if rivals is None else asyncio.ensure_future(look_for(rivals))
        spent = 0.0 if began is None else asyncio.get_running_loop().time() - began
        try:
            async with timeouts.timeout(None if timeout is None else timeout - spent):
                rest = await connection._shake_hands()
        except asyncio.TimeoutError:
            await transport.close()
            if busy:
                text = f"no agent answered within {timeout:g} s, because {busy} uses this port"
            elif connection._garbage:
                text = f"no valid answer within {timeout:g} s; does another program use this port?"
            else:
                text = (
                    f"no agent answered within {timeout:g} s; is phoenix-ga running in the guest, "
                    "and is the port free of other clients?"
                )
            raise GuestTimeoutError(f"{name}: {text}", garbage=connection._garbage > 0) from None
        except BaseException:
            await transport.close()
            raise
        finally:
            if looking is not None:
                await _end(looking)
        connection._parser.receive(rest)
        connection._reader = asyncio.create_task(connection._read())
        return connection

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._broken is not None

    async def call(self, execute: str, arguments: dict[str, Any], timeout: float | None) -> Any:
        """Run a command and return its result; names that begin with `guest-` are those of the QEMU dialect.

        timeout: in seconds; None: no limit. Raises CommandError, GuestTimeoutError, ConnectionLostError and
        ProtocolError.
        """
        value, _ = await self._call(execute, arguments, timeout, ())
        return value

    async def open_streams(
        self, execute: str, arguments: dict[str, Any], timeout: float | None, expected: Sequence[ExpectedStream]
    ) -> tuple[Any, dict[str, GuestStream]]:
        """Run a command that opens streams; return its result, and the streams by their members.

        If it fails, no stream is left open. Raises as `call` does.
        """
        return await self._call(execute, arguments, timeout, expected)

    def adopt_stream(self, value: Any, expected: ExpectedStream, request: Request) -> GuestStream:
        """Open the stream that `value`, received on another stream, announces. Raises ReadError.

        Call it before the next frame is processed. request: that of the other stream.
        """
        return self._open_streams(value, (expected,), request)[expected.member]

    def own_task(self, task: asyncio.Task[None]) -> None:
        """Cancel a task when the connection is closed."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(
        self, execute: str, arguments: dict[str, Any], timeout: float | None, expected: Sequence[ExpectedStream]
    ) -> tuple[Any, dict[str, GuestStream]]:
        request = Request(execute, arguments, f"{self._prefix}-{next(self._numbers)}")
        pending = _Pending(request, asyncio.get_running_loop().create_future(), expected)
        garbage = self._garbage
        try:
            async with timeouts.timeout(timeout):
                return await self._ask(pending)
        except asyncio.TimeoutError as error:
            if isinstance(error, PhoenixError):
                raise
            text = f"no answer within {timeout:g} s"
            if self._garbage > garbage:
                raise GuestTimeoutError(f"{text}, only to requests of others", request, garbage=True) from None
            raise GuestTimeoutError(text, request) from None
        finally:
            await self._give_up(pending)

    async def close(self) -> None:
        """Close the connection; calls in flight raise ConnectionLostError. May be called twice."""
        self._fail(ConnectionLostError("the connection was closed"))
        reader, self._reader = self._reader, None
        for task in list(self._tasks):
            await _end(task)
        if reader is not None:
            await _end(reader)
            await self._transport.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection. Raises the error that ended it, unless `close` did."""
        if self._reader is not None:
            await asyncio.wait({self._reader})
        if self._broken is not None and self._reader is not None:
            raise self._broken

    async def _ask(self, pending: _Pending) -> tuple[Any, dict[str, GuestStream]]:
        request = pending.request
        if self._broken is not None:
            raise for_request(self._broken, request)
        line = encode_call(request)
        if not (self._pending or self._streams):
            line = self._keepalive.begin() + line
        self._pending[request.tag] = pending
        try:
            await self._write(line)
        except PhoenixError as error:
            raise for_request(error, request) from error
        result = await pending.answered
        pending.delivered = True
        return result

    async def _give_up(self, pending: _Pending) -> None:
        """Close the streams that an answer without a caller opens."""
        if pending.delivered:
            return
        pending.answered.cancel()
        # An answer that opens streams is still awaited, to close them.
        if not pending.expected:
            self._pending.pop(pending.request.tag, None)
        for stream in pending.streams:
            await stream.reset()

    async def _write(self, data: bytes) -> None:
        """Send bytes, and wait for room. Raises the error that ended the connection."""
        async with self._write_lock:
            if self._broken is not None:
                raise self._broken
            if self._trace is not None:
                self._trace("sent", data)
            try:
                await self._transport.write(data)
            except OSError as error:
                lost = _connection_broke(error)
                # The reader may not notice.
                self._fail(lost)
                await self._transport.close()
                raise self._broken or lost from error
            self._keepalive.wrote()

    def _send_keepalive(self, line: bytes) -> None:
        async def write() -> None:
            try:
                await self._write(line)
                self._keepalive.sent()
            except PhoenixError:
                pass  # Calls and streams raise it.

        self.own_task(asyncio.get_running_loop().create_task(write()))

    def _lose(self, error: ConnectionLostError) -> None:
        """End the connection, although the transport is open."""
        self._fail(error)
        # This also ends the reader, and whoever waits for room to write.
        self.own_task(asyncio.get_running_loop().create_task(self._transport.close()))

    def _post(self, data: bytes) -> None:
        """Send bytes in the background."""
        self._posted += data
        if self._posted and not self._posting and self._broken is None:
            self._posting = True
            self.own_task(asyncio.get_running_loop().create_task(self._send_posted()))

    async def _send_posted(self) -> None:
        try:
            while self._posted:
                data, self._posted = bytes(self._posted), bytearray()
                await self._write(data)
        except PhoenixError:
            pass  # Calls and streams raise it.
        finally:
            self._posting = False

    async def _receive(self) -> bytes | memoryview:
        """Return received bytes, valid until the next call. Raises ConnectionLostError at the end."""
        try:
            data = await self._take()
        except OSError as error:
            raise _connection_broke(error) from error
        if not data:
            raise ConnectionLostError("the guest's side closed the connection")
        self._keepalive.heard()
        if self._trace is not None:
            self._trace("received", bytes(data))
        return data

    async def _shake_hands(self) -> bytes:
        """Return the bytes received after the answer to `sync`."""
        handshake = Handshake(secrets.randbits(53), f"{self._prefix}-sync")
        asking = asyncio.create_task(self._ask_to_sync(handshake))
        loop = asyncio.get_running_loop()
        start = loop.time()
        received = 0
        # An earlier client may have left a line, and as many bytes of frames.
        limit = 2 * self._parser.line_limit + len(resync_padding())
        try:
            while True:
                data = await self._receive()
                received += len(data)
                rest = handshake.receive(data)
                if rest is not None:
                    self._keepalive.session = handshake.number
                    return rest
                # What an earlier client has left arrives at once.
                self._garbage += loop.time() - start > _FIRST_PATIENCE
                if received > limit:
                    raise ProtocolError(
                        f"{self.name}: received {received >> 20} MiB without the answer to sync", fatal=True
                    )
                if handshake.refused is not None and handshake.refused.error is not None:
                    raise ConnectError(
                        f"{self.name}: the agent does not know the command sync "
                        f"({handshake.refused.error.text}); update it"
                    )
        except ConnectionLostError as error:
            raise ConnectionLostError(f"{self.name}: {error.text} before the agent answered") from error
        finally:
            # A failed write shows as the end of the stream as well.
            await _end(asking)

    async def _ask_to_sync(self, handshake: Handshake) -> None:
        patience = _FIRST_PATIENCE
        await self._write(handshake.request())
        while True:
            await asyncio.sleep(patience)
            await self._write(resync_padding() + handshake.request())
            patience *= 2

    async def _read(self) -> None:
        try:
            while True:
                for unit in self._parser:
                    self._route(unit)
                self._parser.receive(await self._receive())
        except PhoenixError as error:
            self._fail(error)
            await self._transport.close()
        except BaseException:
            self._fail(ConnectionLostError("the connection was closed"))
            raise

    def _route(self, unit: Unit) -> None:
        """Deliver a frame or an answer. Raises ProtocolError if the connection is unusable."""
        if isinstance(unit, Frame):
            stream = self._streams.get(unit.stream)
            if stream is not None:
                self._receive_frame(stream, unit)
            elif not self._had_streams:
                raise ProtocolError("unexpected data: a frame before any stream was opened", fatal=True)
            # Frames of a stream that has ended may still be in flight.
            return
        if not isinstance(unit, Line):
            raise ProtocolError(f"unexpected data: {unit.text}", fatal=True)
        try:
            answer = make_any_answer(decode_json(unit.data, self._elements_max))
        except JsonError as error:
            raise ProtocolError(f"invalid answer: {error}", fatal=True) from None
        except MessageError as error:
            if _found(self._pending, error.tag) is None:
                raise ProtocolError(f"invalid answer: {error}", fatal=True) from None
            pending = self._pending.pop(error.tag)
            _refuse(pending.answered, ProtocolError(str(error), pending.request))
            return
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        if self._keepalive.receive(answer):
            return
        found = _found(self._pending, answer.tag)
        if found is None:
            # An answer to a call that timed out may be late; an error without a tag is about a malformed request.
            if answer.error is not None and answer.tag in (NO_TAG, None, ""):
                raise ProtocolError(f"the guest could not parse a request: {answer.error.text}", fatal=True)
            self._garbage += not (isinstance(answer.tag, str) and answer.tag.startswith(self._prefix))
            return
        del self._pending[answer.tag]
        if found.request.execute in _SYNCS:
            self._keepalive.learn()
        if answer.error is not None:
            _refuse(found.answered, refusal(answer.error, found.request))
            return
        try:
            # Now: the next frames may be of these streams.
            streams = self._open_streams(answer.value, found.expected, found.request)
        except ReadError as error:
            _refuse(found.answered, ProtocolError(str(error), found.request))
            return
        found.streams = tuple(streams.values())
        if not found.answered.done():
            found.answered.set_result((answer.value, streams))
        else:
            for stream in found.streams:
                stream.drop("the call was cancelled")

    def _open_streams(
        self, value: Any, expected: Sequence[ExpectedStream], request: Request
    ) -> dict[str, GuestStream]:
        """Return the streams that an answer opens. If it raises ReadError, it has opened none."""
        streams: dict[str, GuestStream] = {}
        for each in expected:
            if each.optional and not Reader(value).has(each.member):
                continue
            number = Reader(value).member(each.member).integer()
            credit = Reader(value).member("window").integer() if each.sends else 0
            if not 0 < number < 2**32 or number in self._streams or not 0 <= credit <= WINDOW_MAX:
                raise ReadError(f"stream number {number} or window {credit} is invalid")
            wire = Stream(number, credit=credit, window=each.window, sends=each.sends, skips=each.skips)
            streams[each.member] = GuestStream(
                wire, self._write, self._post, self._forget_stream, request, each.ends_both, each.on_data
            )
        if len({stream.id for stream in streams.values()}) < len(streams):
            raise ReadError("two streams have the same number")
        self._had_streams |= bool(expected)
        self._streams.update({stream.id: stream for stream in streams.values()})
        return streams

    def _forget_stream(self, stream: GuestStream) -> None:
        if self._streams.get(stream.id) is stream:
            del self._streams[stream.id]

    def _receive_frame(self, stream: GuestStream, frame: Frame) -> None:
        try:
            stream.receive(frame)
        except StreamViolation as error:
            self._post(Stream(frame.stream, credit=0, window=0).reset(str(error), EPROTO))

    def _fail(self, error: PhoenixError) -> None:
        """Fail all calls and streams, including later ones, with `error`."""
        self._keepalive.stop()
        if self._broken is None:
            self._broken = error
        for pending in self._pending.values():
            _refuse(pending.answered, for_request(self._broken, pending.request))
        self._pending.clear()
        for stream in list(self._streams.values()):
            stream.lose(for_request(self._broken, stream.request))
        self._streams.clear()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _refuse(answered: asyncio.Future[Any], error: PhoenixError) -> None:
    if not answered.done():
        answered.set_exception(error)
        # The caller may be gone; asyncio warns about exceptions that are not retrieved.
        answered.exception()


def _connection_broke(error: OSError) -> ConnectionLostError:
    return ConnectionLostError(f"the connection broke: {error.strerror or error}")


def _found(pending: dict[str, _Pending], tag: Any) -> _Pending | None:
    # A hostile tag may be unhashable.
    return pending.get(tag) if isinstance(tag, str) else None
