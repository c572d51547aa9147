"""Streams to a guest: bytes in both directions, with flow control by credit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Union

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import ConnectionLostError, PhoenixError, StreamError, for_request
from phoenix_ga.client.keepalive import RESTARTED
from phoenix_ga.wire.messages import NO_CODE, Request
from phoenix_ga.wire.streams import (
    AGENT_STOPPING,
    LINK_LOST,
    UNKNOWN_STREAM,
    Credit,
    Data,
    End,
    Reset,
    Skip,
    Stream,
    StreamViolation,
)
from phoenix_ga.wire.units import Frame

# An answer waits for at most one frame, so frames of bulk data are small.
FRAME_SIZE: Final = 64 * 1024
_SMALL: Final = 4096
# SKIP frames need no credit, so their number is limited separately.
PIECES_MAX: Final = 65536

Write = Callable[[bytes], Awaitable[None]]
Piece = Union[bytes, Skip]


class GuestStream:
    """A stream to a guest. One task may read while another one writes.

    `async for chunk in stream` yields data as it arrives. As a context manager, it resets the stream at the
    end of the body, unless both directions have ended. Reading and writing raise StreamError if the guest resets
    the stream, and ConnectionLostError.

    Attributes:
        request: the request that opened it; `listen` for an accepted connection.
        message: the closing message of the guest once all data was read, else None.
    """

    request: Request
    message: dict[str, Any] | None

    def __init__(
        self,
        stream: Stream,
        write: Write,
        post: Callable[[bytes], None],
        forget: Callable[[GuestStream], None],
        request: Request,
        ends_both: bool = False,
        on_data: Callable[[bytes], None] | None = None,
    ) -> None:
        """Make a stream for a connection.

        Args:
            write: sends bytes, and waits for room.
            post: sends bytes without waiting.
            forget: is called when the stream is over.
            ends_both: an END of the guest ends both directions.
            on_data: is called with received data before the next frame is processed.
        """
        self._stream = stream
        self.request = request
        self._ends_both = ends_both
        self._write = write
        self._post = post
        self._forget = forget
        self._on_data = on_data
        self._received: deque[Piece] = deque()
        # The end of a chunk of which `read` has returned the beginning; the guest has credit for it already.
        self._rest = b""
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._end: dict[str, Any] | None = None
        self._error: PhoenixError | None = None
        self._failing: list[asyncio.Future[None]] = []
        self._sender: asyncio.Task[Any] | None = None
        self.message = None

    def __repr__(self) -> str:
        return f"<Guest{self._stream!r}>"

    @property
    def id(self) -> int:
        """The stream number in its frames."""
        return self._stream.id

    @property
    def has_ended(self) -> bool:
        """Whether the guest has ended its direction; received data may still be unread."""
        return self._end is not None

    async def __aenter__(self) -> GuestStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.reset()

    def __aiter__(self) -> GuestStream:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read_chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self, size: int = -1) -> bytes:
        """Return received data, as `asyncio.StreamReader.read` does.

        Args:
            size: the maximum, in bytes; returns at least one byte, or none at the end. -1: read to the end.
        """
        if size < 0:
            return await self.read_all()
        if not size:
            return b""
        chunk = await self.read_chunk()
        self._rest = chunk[size:]
        return chunk[:size]

    async def read_chunk(self) -> bytes:
        """Return the next received data, at least one byte; none at the end."""
        piece = await self.read_piece()
        if isinstance(piece, Skip):
            raise ValueError("the stream is sparse; use read_piece")
        return piece

    async def read_all(self, limit: int | None = None) -> bytes:
        """Read to the end.

        Args:
            limit: raise StreamError if there is more data, in bytes; None: no limit.
        """
        data = bytearray()
        async for chunk in self:
            data += chunk
            if limit is not None and len(data) > limit:
                raise self._broken(f"the guest sent more than {limit} bytes")
        return bytes(data)

    async def read_piece(self) -> Piece:
        """Return the next received data, none at the end, or a Skip for a hole in a sparse stream."""
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        while not self._received:
            if self._end is not None:
                self.message = self._end
                return b""
            if self._error is not None:
                raise self._error
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        piece = self._received.popleft()
        if not isinstance(piece, Skip):
            # Post, do not wait: a cancelled wait would lose the piece.
            self._post(self._stream.consumed(len(piece)))
        return piece

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, waiting while the guest has no room."""
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
        """Send a Skip instead of `length` zeros."""
        self._may_write()
        await self._send(self._stream.skip(length))

    async def end(self, message: dict[str, Any] | None = None) -> None:
        """End this direction, with a closing message. The other direction stays open."""
        if self._error is not None:
            raise self._error
        if self._stream.sending:
            frame = self._stream.end(message or {})
            self._forget_if_over()
            await self._send(frame)

    async def _send(self, data: bytes) -> None:
        self._sender = asyncio.current_task()
        try:
            await self._write(data)
        except PhoenixError as error:
            raise for_request(error, self.request) from error
        except asyncio.CancelledError:
            # Without a sender, it was `_fail` that cancelled.
            if self._sender is not None or self._error is None:
                raise
            timeouts.uncancel()
            raise self._error from None
        finally:
            self._sender = None

    async def wait_failed(self) -> None:
        """Wait until the stream is reset or the connection is lost, and raise the error."""
        if self._error is None:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._failing.append(waiting)
            try:
                await waiting
            finally:
                self._failing.remove(waiting)
        if self._error is not None:
            raise self._error

    async def reset(self, text: str = "the client lost interest") -> None:
        """End both directions at once. Does nothing if they have ended; never raises a PhoenixError."""
        self.drop(text)
        # Let the reset be sent before the next request.
        await asyncio.sleep(0)

    # For the connection only

    def drop(self, text: str) -> None:
        """Reset without waiting."""
        if not self._stream.over:
            self._post(self._stream.reset(text))
            self._fail(self._broken("the stream was closed"))

    def receive(self, frame: Frame) -> None:
        """Process a frame. Raises StreamViolation, and ConnectionLostError if the agent does not know the stream."""
        try:
            event = self._stream.receive(frame)
            if isinstance(event, Data) and self._on_data is not None:
                self._on_data(bytes(event.payload))
            if isinstance(event, Skip) and len(self._received) >= PIECES_MAX:
                raise StreamViolation("too many holes")
        except StreamViolation as error:
            self._fail(self._broken(f"the guest broke the protocol: {error}"))
            raise
        if isinstance(event, Data):
            self._store(bytes(event.payload))
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
        elif isinstance(event, Reset) and event.error.code == UNKNOWN_STREAM:
            # Nor does it know the other streams.
            raise ConnectionLostError(RESTARTED)
        elif isinstance(event, Reset) and event.error.code in (AGENT_STOPPING, LINK_LOST):
            self._fail(ConnectionLostError(event.error.text, self.request))
        elif isinstance(event, Reset):
            self._fail(self._broken(event.error.text, event.error.code))
        _wake(self._arrival)

    def _store(self, payload: bytes) -> None:
        last = self._received[-1] if self._received else None
        if isinstance(last, bytes) and len(last) < _SMALL:
            # Merge small pieces: each costs far more memory than its bytes.
            self._received[-1] = last + payload
        elif payload:
            self._received.append(payload)

    def lose(self, error: PhoenixError) -> None:
        """End the stream because the connection has ended."""
        self._fail(error)

    def _fail(self, error: PhoenixError) -> None:
        if self._error is None:
            self._error = error
        self._stream.sending = self._stream.receiving = False
        _wake(self._arrival)
        _wake(self._room)
        for waiting in self._failing:
            _wake(waiting)
        # Nobody may ever read what waits for room in the connection: an agent that stops does not.
        if self._sender is not None and self._sender is not asyncio.current_task():
            self._sender.cancel()
            self._sender = None
        self._forget(self)

    def _broken(self, text: str, code: int = NO_CODE) -> StreamError:
        return StreamError(text, code, self.request)

    def _may_write(self) -> bool:
        """Raise if this direction has ended, else return True."""
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
