"""One conversation with one guest: the handshake, then answers routed to those who wait for them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.client import deadline
from phoenix_ga.client.errors import (
    ConnectFailed,
    GuestError,
    GuestTimeout,
    LinkLost,
    ProtocolViolation,
    refusal,
)
from phoenix_ga.client.handshake import Handshake
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.messages import NO_TAG, Answer, MessageError, Request, decode_answer, encode_request
from phoenix_ga.wire.units import LINE_LIMIT, Line, Parser, resync_padding

if TYPE_CHECKING:
    from phoenix_ga.wire.units import Unit

# An agent that is there answers within milliseconds; one behind half a frame never does.
_FIRST_PATIENCE: Final = 0.5

Trace = Callable[[str, bytes], None]


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
        self._parser = Parser(line_limit)
        # An answer to somebody else, or to a connection before this one, has another prefix.
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)
        self._waiting: dict[str, tuple[Request, asyncio.Future[Any]]] = {}
        self._write_turn = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._broken: GuestError | None = None

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

        timeout: in seconds, None for no limit. Raises GuestTimeout, LinkLost, and ConnectFailed where
        the agent does not know `sync`; the transport is closed then.
        """
        connection = cls(transport, name, line_limit, trace)
        try:
            async with deadline.timeout(timeout):
                rest = await connection._shake_hands()
        except asyncio.TimeoutError:
            await transport.close()
            raise GuestTimeout(
                f"{name}: no agent answered within {timeout:g} s; does phoenix-ga run in the guest, "
                "and has no other client this port?"
            ) from None
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
        request = Request(execute, arguments, f"{self._prefix}-{next(self._numbers)}")
        try:
            async with deadline.timeout(timeout):
                return await self._ask(request)
        except asyncio.TimeoutError as error:
            if isinstance(error, GuestError):
                raise
            raise GuestTimeout(f"no answer within {timeout:g} s", request) from None
        finally:
            self._waiting.pop(request.tag, None)

    async def close(self) -> None:
        """End the conversation; calls under way raise LinkLost. May be called twice."""
        self._fail(LinkLost("the connection was closed"))
        reader, self._reader = self._reader, None
        if reader is not None:
            await _end(reader)
            await self._transport.close()

    async def _ask(self, request: Request) -> Any:
        if self._broken is not None:
            raise _for(self._broken, request)
        line = encode_request(request.execute, request.arguments, request.tag)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[request.tag] = request, answered
        try:
            await self._write(line)
        except OSError as error:
            if self._broken is not None:
                raise _for(self._broken, request) from error
            raise LinkLost(f"the link broke: {error.strerror or error}", request) from error
        return await answered

    async def _write(self, data: bytes) -> None:
        async with self._write_turn:
            if self._trace is not None:
                self._trace("sent", data)
            await self._transport.write(data)

    async def _receive(self) -> bytes:
        """Return received bytes. Raises LinkLost at the end of the stream."""
        try:
            data = await self._transport.read()
        except OSError as error:
            raise LinkLost(f"the link broke: {error.strerror or error}") from error
        if not data:
            raise LinkLost("the guest's side closed the connection")
        if self._trace is not None:
            self._trace("received", data)
        return data

    async def _shake_hands(self) -> bytes:
        """Return what was received after the answer to `sync`."""
        handshake = Handshake(secrets.randbits(53), f"{self._prefix}-sync")
        asking = asyncio.create_task(self._ask_to_sync(handshake))
        try:
            while True:
                rest = handshake.receive(await self._receive())
                if rest is not None:
                    return rest
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
        if not isinstance(unit, Line):
            raise ProtocolViolation(f"the guest sent what nobody asked for: {_told(unit)}", fatal=True)
        try:
            answer = decode_answer(unit.data)
        except MessageError as error:
            if _found(self._waiting, error.tag) is None:
                raise ProtocolViolation(f"the guest sent no answer: {error}", fatal=True) from None
            request, answered = self._waiting.pop(error.tag)
            _refuse(answered, ProtocolViolation(str(error), request))
            return
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        found = _found(self._waiting, answer.tag)
        if found is None:
            # A late answer to a call that gave up is no fault; an error about no request at all is one.
            if answer.error is not None and answer.tag in (NO_TAG, None, ""):
                raise ProtocolViolation(f"the guest could not read a request: {answer.error.text}", fatal=True)
            return
        request, answered = found
        del self._waiting[answer.tag]
        if answer.error is not None:
            _refuse(answered, refusal(answer.error, request))
        elif not answered.done():
            answered.set_result(answer.value)

    def _fail(self, error: GuestError) -> None:
        """Let all calls, those to come included, meet `error`."""
        if self._broken is None:
            self._broken = error
        for request, answered in self._waiting.values():
            _refuse(answered, _for(self._broken, request))
        self._waiting.clear()


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


def _for(error: GuestError, request: Request) -> GuestError:
    """Return the error that broke the connection, as this request meets it."""
    if isinstance(error, ProtocolViolation):
        return ProtocolViolation(error.text, request, fatal=True)
    return type(error)(error.text, request)


def _found(
    waiting: dict[str, tuple[Request, asyncio.Future[Any]]], tag: Any
) -> tuple[Request, asyncio.Future[Any]] | None:
    # A tag of a hostile guest may be of a type that cannot be looked up.
    return waiting.get(tag) if isinstance(tag, str) else None


def _told(unit: Unit) -> str:
    return getattr(unit, "text", "") or "a frame of no stream"
