"""Streams of a guest: bytes in both directions, no more under way than there is room for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Union

from phoenix_ga.client.errors import GuestError, StreamBroken, as_met_by
from phoenix_ga.wire.messages import NO_CODE, Request
from phoenix_ga.wire.streams import Credit, Data, End, Reset, Skip, Stream, StreamViolation
from phoenix_ga.wire.units import Frame

# An answer waits for one frame at most, so bulk data goes in small ones.
FRAME_SIZE: Final = 64 * 1024
_SMALL: Final = 4096
# Holes take no credit, so something else has to bound how many wait to be read.
PIECES_MAX: Final = 65536

Write = Callable[[bytes], Awaitable[None]]
Piece = Union[bytes, Skip]


class GuestStream:
    """A stream of the guest. One task may read while another one writes.

    message: the guest's last words, when all was read; None before. request: what opened it, which is
    `listen` for a connection that somebody made to a listener. Reading and writing raise
    StreamBroken where the guest resets the stream, and LinkLost where the connection ends. Leaving it
    as a context manager resets it, unless both directions have ended.

    write: sends bytes and waits for room; post: sends them without. forget: is called when the stream
    is over. ends_both: what the guest ends ends in both directions. look: sees data as it comes, before
    what comes after it is looked at.
    """

    def __init__(
        self,
        stream: Stream,
        write: Write,
        post: Callable[[bytes], None],
        forget: Callable[[GuestStream], None],
        request: Request,
        ends_both: bool = False,
        look: Callable[[bytes], None] | None = None,
    ) -> None:
        self._stream = stream
        self.request = request
        self._ends_both = ends_both
        self._write = write
        self._post = post
        self._forget = forget
        self._look = look
        self._received: deque[Piece] = deque()
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._end: dict[str, Any] | None = None
        self._error: GuestError | None = None
        self.message: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Guest{self._stream!r}>"

    @property
    def id(self) -> int:
        """Its number, as in the frames."""
        return self._stream.id

    @property
    def has_ended(self) -> bool:
        """Whether the guest has sent its last; it may still be there to be read."""
        return self._end is not None

    async def __aenter__(self) -> GuestStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.reset()

    async def read(self) -> bytes:
        """Return what came, at least one byte; none at the end."""
        piece = await self.read_piece()
        if isinstance(piece, Skip):
            raise ValueError("zeros were left out; read_piece tells how many")
        return piece

    async def read_all(self, limit: int | None = None) -> bytes:
        """Return all that comes. limit: raise StreamBroken where it is more, in bytes; None for any amount."""
        pieces = bytearray()
        while data := await self.read():
            pieces += data
            if limit is not None and len(pieces) > limit:
                raise self._broken(f"the guest sent more than {limit} bytes")
        return bytes(pieces)

    async def read_piece(self) -> Piece:
        """Return what came: bytes, none at the end, or a Skip for zeros that were left out."""
        while not self._received:
            if self._end is not None:
                self.message = self._end
                return b""
            if self._error is not None:
                raise self._error
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        piece = self._received.popleft()
        if not isinstance(piece, Skip):
            # To wait here would be to lose the piece where the wait is cancelled.
            self._post(self._stream.consumed(len(piece)))
        return piece

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; returns when the guest had room for it."""
        rest = memoryview(data)
        while rest:
            while not self._stream.credit and self._may_write():
                self._room = asyncio.get_running_loop().create_future()
                try:
                    await self._room
                finally:
                    self._room = None
            self._may_write()
            size = min(len(rest), self._stream.credit, FRAME_SIZE)
            header = self._stream.data_header(size)
            await self._send(b"".join((header, rest[:size])))
            rest = rest[size:]

    async def skip(self, length: int) -> None:
        """Send a Skip instead of `length` zeros, to a guest that takes them."""
        self._may_write()
        await self._send(self._stream.skip(length))

    async def end(self, message: dict[str, Any] | None = None) -> None:
        """Send no more; `message` is the last word. What the guest sends can still be read."""
        if self._error is not None:
            raise self._error
        if self._stream.sending:
            frame = self._stream.end(message or {})
            self._forget_if_over()
            await self._send(frame)

    async def _send(self, data: bytes) -> None:
        try:
            await self._write(data)
        except GuestError as error:
            raise as_met_by(error, self.request) from error

    async def reset(self, text: str = "the client lost interest") -> None:
        """End both directions at once, where that has not happened. Never raises a GuestError."""
        self.drop(text)
        # What is asked next is sent after it.
        await asyncio.sleep(0)

    # For the connection

    def drop(self, text: str) -> None:
        """Do what `reset` does, without waiting: a guest that takes nothing holds up nobody who leaves."""
        if not self._stream.over:
            self._post(self._stream.reset(text))
            self._fail(self._broken("the stream was closed"))

    def receive(self, frame: Frame) -> None:
        """Take a frame of this stream. Raises StreamViolation."""
        try:
            event = self._stream.receive(frame)
            if isinstance(event, Data) and self._look is not None:
                self._look(bytes(event.payload))
            if isinstance(event, Skip) and len(self._received) >= PIECES_MAX:
                raise StreamViolation("more holes than there is room for")
        except StreamViolation as error:
            self._fail(self._broken(f"the guest broke the protocol: {error}"))
            raise
        if isinstance(event, Data):
            self._keep(bytes(event.payload))
        elif isinstance(event, Skip):
            self._received.append(event)
        elif isinstance(event, Credit):
            _wake(self._room)
            return
        elif isinstance(event, End):
            self._end = event.message
            if self._ends_both:
                self._stream.sending = False
                _wake(self._room)
            self._forget_if_over()
        elif isinstance(event, Reset):
            self._fail(self._broken(event.error.text, event.error.code))
        _wake(self._news)

    def _keep(self, payload: bytes) -> None:
        last = self._received[-1] if self._received else None
        if isinstance(last, bytes) and len(last) < _SMALL:
            # Many small pieces would take far more memory than there is room for.
            self._received[-1] = last + payload
        elif payload:
            self._received.append(payload)

    def lose(self, error: GuestError) -> None:
        """The connection has ended."""
        self._fail(error)

    def _fail(self, error: GuestError) -> None:
        if self._error is None:
            self._error = error
        self._stream.sending = self._stream.receiving = False
        _wake(self._news)
        _wake(self._room)
        self._forget(self)

    def _broken(self, text: str, code: int = NO_CODE) -> StreamBroken:
        return StreamBroken(text, code, self.request)

    def _may_write(self) -> bool:
        """Raise where nothing can be written any more."""
        if self._error is not None:
            raise self._error
        if not self._stream.sending:
            raise self._broken("the stream has ended in this direction")
        return True

    def _forget_if_over(self) -> None:
        if self._stream.over:
            self._forget(self)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
