"""One conversation with one guest: the handshake, then answers routed to those who wait for them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EPROTO
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import (
    ConnectFailed,
    GuestError,
    GuestTimeout,
    LinkLost,
    ProtocolViolation,
    as_met_by,
    refusal,
)
from phoenix_ga.client.handshake import Handshake
from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.commands import WINDOW_DEFAULT, WINDOW_MAX
from phoenix_ga.wire.messages import (
    ANSWER_ELEMENTS_MAX,
    NO_TAG,
    Answer,
    MessageError,
    Request,
    decode_answer,
    encode_request,
)
from phoenix_ga.wire.streams import Stream, StreamViolation
from phoenix_ga.wire.units import LINE_LIMIT, Frame, Line, Parser, resync_padding

if TYPE_CHECKING:
    from phoenix_ga.wire.units import Unit

# An agent that is there answers within milliseconds; one behind half a frame never does.
_FIRST_PATIENCE: Final = 0.5
_ELEMENTS_LEAST: Final = 10_000

Trace = Callable[[str, bytes], None]


@dataclass(frozen=True)
class ExpectedStream:
    """A stream that an answer is to name.

    member: of the answer, that has its number. window: how many bytes the guest may send at first; 0:
    it sends none. sends: this side sends. skips: the guest may leave out zeros. optional: the answer may
    not name it. ends_both, look: as `GuestStream` has them.
    """

    member: str
    window: int = WINDOW_DEFAULT
    sends: bool = True
    skips: bool = False
    optional: bool = False
    ends_both: bool = False
    look: Callable[[bytes], None] | None = None


class _Waiting:
    """A request under way. taken: whoever asked has the answer."""

    __slots__ = ("answered", "expected", "request", "streams", "taken")

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
        self.taken = False


class Connection:
    """A conversation over a transport, which it owns. Use `Connection.open`.

    name: of the endpoint, for messages. line_limit: the longest line taken from the guest, in bytes.
    trace: is called with "sent" or "received" and the bytes.
    """

    def __init__(
        self, transport: Transport, name: str, line_limit: int = LINE_LIMIT, trace: Trace | None = None
    ) -> None:
        self.name = name
        self._transport = transport
        self._trace = trace
        self._parser = Parser(line_limit, lines_only=True)
        # As few as the line is short: a value takes more memory than its text.
        self._elements_max = max(ANSWER_ELEMENTS_MAX * line_limit // LINE_LIMIT, _ELEMENTS_LEAST)
        # An answer to somebody else, or to a connection before this one, has another prefix.
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._streams: dict[int, GuestStream] = {}
        self._had_streams = False
        self._write_turn = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._broken: GuestError | None = None
        self._kept: set[asyncio.Task[None]] = set()
        self._posted = bytearray()
        self._posting = False
        # How often something came that nobody can have asked for.
        self._garbage = 0

    def __repr__(self) -> str:
        state = "closed" if self._broken is not None else "open"
        return f"<Connection {self.name} {state}, {len(self._waiting)} waiting>"

    @classmethod
    async def open(
        cls,
        transport: Transport,
        name: str,
        *,
        timeout: float | None,
        line_limit: int = LINE_LIMIT,
        trace: Trace | None = None,
    ) -> Connection:
        """Shake hands with the guest and return the conversation.

        timeout: in seconds, None for no limit. Raises GuestTimeout, LinkLost, ProtocolViolation where
        bytes come without end, and ConnectFailed where the agent does not know `sync`; the transport is
        closed then.
        """
        connection = cls(transport, name, line_limit, trace)
        try:
            async with timeouts.timeout(timeout):
                rest = await connection._shake_hands()
        except asyncio.TimeoutError:
            await transport.close()
            if connection._garbage:
                text = (
                    f"what came within {timeout:g} s was no answer of an agent; does something else have this port?"
                )
            else:
                text = (
                    f"no agent answered within {timeout:g} s; does phoenix-ga run in the guest, "
                    "and has no other client this port?"
                )
            raise GuestTimeout(f"{name}: {text}", garbage=connection._garbage > 0) from None
        except BaseException:
            await transport.close()
            raise
        connection._parser.receive(rest)
        connection._reader = asyncio.create_task(connection._read())
        return connection

    @property
    def closed(self) -> bool:
        """Whether the conversation has ended."""
        return self._broken is not None

    async def call(self, execute: str, arguments: dict[str, Any], timeout: float | None) -> Any:
        """Ask the guest, and return what the command returned.

        timeout: in seconds, of the whole call; None for no limit. Raises GuestRefused, GuestTimeout,
        LinkLost and ProtocolViolation.
        """
        value, _ = await self._call(execute, arguments, timeout, ())
        return value

    async def open_streams(
        self, execute: str, arguments: dict[str, Any], timeout: float | None, expected: Sequence[ExpectedStream]
    ) -> tuple[Any, dict[str, GuestStream]]:
        """Ask the guest for streams; return what the command returned, and the streams by their members.

        Whatever goes wrong, no stream is left open. Raises as `call` does.
        """
        return await self._call(execute, arguments, timeout, expected)

    def adopt_stream(self, value: Any, expected: ExpectedStream, request: Request) -> GuestStream:
        """Return the stream that `value`, sent by the guest on another stream, tells of.

        request: what opened the other one. To be called before the next frames are looked at. Raises ShapeError.
        """
        return self._open_streams(value, (expected,), request)[expected.member]

    def keep(self, task: asyncio.Task[None]) -> None:
        """Let a task end with the connection, at the latest."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    async def _call(
        self, execute: str, arguments: dict[str, Any], timeout: float | None, expected: Sequence[ExpectedStream]
    ) -> tuple[Any, dict[str, GuestStream]]:
        request = Request(execute, arguments, f"{self._prefix}-{next(self._numbers)}")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future(), expected)
        garbage = self._garbage
        try:
            async with timeouts.timeout(timeout):
                return await self._ask(waiting)
        except asyncio.TimeoutError as error:
            if isinstance(error, GuestError):
                raise
            text = f"no answer within {timeout:g} s"
            if self._garbage > garbage:
                raise GuestTimeout(f"{text}, but some to nobody's requests", request, garbage=True) from None
            raise GuestTimeout(text, request) from None
        finally:
            await self._give_up(waiting)

    async def close(self) -> None:
        """End the conversation; calls under way raise LinkLost. May be called twice."""
        self._fail(LinkLost("the connection was closed"))
        reader, self._reader = self._reader, None
        for task in list(self._kept):
            await _end(task)
        if reader is not None:
            await _end(reader)
            await self._transport.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the conversation. Raises LinkLost or ProtocolViolation, unless `close` ended it."""
        if self._reader is not None:
            await asyncio.wait({self._reader})
        if self._broken is not None and self._reader is not None:
            raise self._broken

    async def _ask(self, waiting: _Waiting) -> tuple[Any, dict[str, GuestStream]]:
        request = waiting.request
        if self._broken is not None:
            raise as_met_by(self._broken, request)
        line = encode_request(request.execute, request.arguments, request.tag)
        self._waiting[request.tag] = waiting
        try:
            await self._write(line)
        except GuestError as error:
            raise as_met_by(error, request) from error
        result = await waiting.answered
        waiting.taken = True
        return result

    async def _give_up(self, waiting: _Waiting) -> None:
        """Nobody waits for the answer any more: what it opens, or will, is closed."""
        if waiting.taken:
            return
        waiting.answered.cancel()
        # An answer that opens streams is waited for all the same.
        if not waiting.expected:
            self._waiting.pop(waiting.request.tag, None)
        for stream in waiting.streams:
            await stream.reset()

    async def _write(self, data: bytes) -> None:
        """Send bytes; returns when there is room for more. Raises what ended the conversation."""
        async with self._write_turn:
            if self._broken is not None:
                raise self._broken
            if self._trace is not None:
                self._trace("sent", data)
            try:
                await self._transport.write(data)
            except OSError as error:
                lost = _link_broke(error)
                # Not every link that takes nothing also ends for the reader.
                self._fail(lost)
                await self._transport.close()
                raise self._broken or lost from error

    def _post(self, data: bytes) -> None:
        """Send bytes for which nobody waits."""
        self._posted += data
        if self._posted and not self._posting and self._broken is None:
            self._posting = True
            self.keep(asyncio.get_running_loop().create_task(self._send_posted()))

    async def _send_posted(self) -> None:
        try:
            while self._posted:
                data, self._posted = bytes(self._posted), bytearray()
                await self._write(data)
        except GuestError:
            pass  # Everybody meets it.
        finally:
            self._posting = False

    async def _receive(self) -> bytes:
        """Return received bytes. Raises LinkLost at the end of the stream."""
        try:
            data = await self._transport.read()
        except OSError as error:
            raise _link_broke(error) from error
        if not data:
            raise LinkLost("the guest's side closed the connection")
        if self._trace is not None:
            self._trace("received", data)
        return data

    async def _shake_hands(self) -> bytes:
        """Return what was received after the answer to `sync`."""
        handshake = Handshake(secrets.randbits(53), f"{self._prefix}-sync")
        asking = asyncio.create_task(self._ask_to_sync(handshake))
        loop = asyncio.get_running_loop()
        start = loop.time()
        received = 0
        # An earlier client may have left a line, and as much in frames.
        limit = 2 * self._parser.line_limit + len(resync_padding())
        try:
            while True:
                data = await self._receive()
                received += len(data)
                rest = handshake.receive(data)
                if rest is not None:
                    return rest
                # What an earlier client has left comes at once.
                self._garbage += loop.time() - start > _FIRST_PATIENCE
                if received > limit:
                    raise ProtocolViolation(
                        f"{self.name}: {received >> 20} MiB came, and no answer of an agent in it", fatal=True
                    )
                if handshake.refused is not None and handshake.refused.error is not None:
                    raise ConnectFailed(
                        f"{self.name}: this agent does not know the command sync "
                        f"({handshake.refused.error.text}); update it"
                    )
        except LinkLost as error:
            raise LinkLost(f"{self.name}: {error.text} before an agent answered") from error
        finally:
            # A write that failed shows as the end of the stream as well.
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
                    self._take(unit)
                self._parser.receive(await self._receive())
        except GuestError as error:
            self._fail(error)
            await self._transport.close()
        except BaseException:
            self._fail(LinkLost("the connection was closed"))
            raise

    def _take(self, unit: Unit) -> None:
        """Route what came. Raises ProtocolViolation where the conversation cannot go on."""
        if isinstance(unit, Frame):
            stream = self._streams.get(unit.stream)
            if stream is not None:
                self._receive_frame(stream, unit)
            elif not self._had_streams:
                raise ProtocolViolation("the guest sent what nobody asked for: a frame of no stream", fatal=True)
            # One of a stream that is over may have been on its way.
            return
        if not isinstance(unit, Line):
            raise ProtocolViolation(f"the guest sent what nobody asked for: {unit.text}", fatal=True)
        try:
            answer = decode_answer(unit.data, self._elements_max)
        except MessageError as error:
            if _found(self._waiting, error.tag) is None:
                raise ProtocolViolation(f"the guest sent no answer: {error}", fatal=True) from None
            waiting = self._waiting.pop(error.tag)
            _refuse(waiting.answered, ProtocolViolation(str(error), waiting.request))
            return
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        found = _found(self._waiting, answer.tag)
        if found is None:
            # A late answer to a call that gave up is no fault; an error about no request at all is one.
            if answer.error is not None and answer.tag in (NO_TAG, None, ""):
                raise ProtocolViolation(f"the guest could not read a request: {answer.error.text}", fatal=True)
            self._garbage += not (isinstance(answer.tag, str) and answer.tag.startswith(self._prefix))
            return
        del self._waiting[answer.tag]
        if answer.error is not None:
            _refuse(found.answered, refusal(answer.error, found.request))
            return
        try:
            # At once, for what comes next may be frames of these streams.
            streams = self._open_streams(answer.value, found.expected, found.request)
        except ShapeError as error:
            _refuse(found.answered, ProtocolViolation(str(error), found.request))
            return
        found.streams = tuple(streams.values())
        if not found.answered.done():
            found.answered.set_result((answer.value, streams))
        else:
            for stream in found.streams:
                stream.drop("nobody waits for it any more")

    def _open_streams(
        self, value: Any, expected: Sequence[ExpectedStream], request: Request
    ) -> dict[str, GuestStream]:
        """Return the streams that the guest tells of. Raises ShapeError, and then has opened none."""
        streams: dict[str, GuestStream] = {}
        for each in expected:
            if each.optional and not Shape(value).has(each.member):
                continue
            number = Shape(value).member(each.member).integer()
            credit = Shape(value).member("window").integer() if each.sends else 0
            if not 0 < number < 2**32 or number in self._streams or not 0 <= credit <= WINDOW_MAX:
                raise ShapeError(f"stream {number} with the window {credit} can't be opened")
            wire = Stream(number, credit=credit, window=each.window, sends=each.sends, skips=each.skips)
            streams[each.member] = GuestStream(
                wire, self._write, self._post, self._forget_stream, request, each.ends_both, each.look
            )
        if len({stream.id for stream in streams.values()}) < len(streams):
            raise ShapeError("two streams have one number")
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

    def _fail(self, error: GuestError) -> None:
        """Let all calls, those to come included, meet `error`."""
        if self._broken is None:
            self._broken = error
        for waiting in self._waiting.values():
            _refuse(waiting.answered, as_met_by(self._broken, waiting.request))
        self._waiting.clear()
        for stream in list(self._streams.values()):
            stream.lose(as_met_by(self._broken, stream.request))
        self._streams.clear()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait for its end, whatever it is."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _refuse(answered: asyncio.Future[Any], error: GuestError) -> None:
    if not answered.done():
        answered.set_exception(error)
        # Whoever waited may be gone; asyncio would complain that nobody looked.
        answered.exception()


def _link_broke(error: OSError) -> LinkLost:
    return LinkLost(f"the link broke: {error.strerror or error}")


def _found(waiting: dict[str, _Waiting], tag: Any) -> _Waiting | None:
    # A tag of a hostile guest may be of a type that cannot be looked up.
    return waiting.get(tag) if isinstance(tag, str) else None
