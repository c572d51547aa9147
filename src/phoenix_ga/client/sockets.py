"""Connections into the guest, and out of it, as asyncio's streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from phoenix_ga.client.connection import Connection, ExpectedStream
from phoenix_ga.client.errors import GuestError, StreamBroken
from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import Request
from phoenix_ga.wire.streams import StreamViolation

StreamPair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

# More than this that was not sent yet, or not read yet, makes the other side wait.
_HIGH: Final = 256 * 1024
# What tells of a connection is never longer.
_NEWS_MAX: Final = 4096
# So many connections may wait to be accepted; each may send a window of data meanwhile.
BACKLOG: Final = 64


class _GuestTransport(asyncio.Transport):
    """A transport of asyncio over a stream of the guest, which it resets at its end."""

    def __init__(self, stream: GuestStream, protocol: asyncio.StreamReaderProtocol) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._output = bytearray()
        self._news = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._closing = False
        self._eof = False
        self._paused = False
        self._written = False
        self._reading: asyncio.Task[None] | None = None
        protocol.connection_made(self)
        self.main = asyncio.get_running_loop().create_task(self._run())
        self.main.add_done_callback(self._ended)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if self._eof:
            raise RuntimeError("nothing can be written after the end")
        self._output += data
        self._news.set()
        if len(self._output) > _HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._eof = True
        self._news.set()

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send what was written, and end; what comes is dropped."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            if self._written and self._reading is not None:
                self._reading.cancel()

    def abort(self) -> None:
        """End at once."""
        self._closing = True
        self.main.cancel()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def is_reading(self) -> bool:
        return self._may_read.is_set()

    def get_write_buffer_size(self) -> int:
        return len(self._output)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._reading = loop.create_task(self._read())
        tasks = self._reading, loop.create_task(self._write())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._closing = True
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._stream.reset()
        for result in results:
            if isinstance(result, GuestError):
                raise result

    def _ended(self, main: asyncio.Task[None]) -> None:
        error = None if main.cancelled() else main.exception()
        self._protocol.connection_lost(None if error is None else ConnectionResetError(str(error)))

    async def _read(self) -> None:
        while data := await self._stream.read():
            self._protocol.data_received(data)
            await self._may_read.wait()
        self._protocol.eof_received()

    async def _write(self) -> None:
        while self._output or not self._eof:
            self._news.clear()
            data, self._output = self._output, bytearray()
            await self._stream.write(data)
            if self._paused:
                self._paused = False
                self._protocol.resume_writing()
            if not (self._output or self._eof):
                await self._news.wait()
        await self._stream.end()
        self._written = True
        if self._closing and self._reading is not None:
            self._reading.cancel()


def make_pair(stream: GuestStream, keep: Callable[[asyncio.Task[None]], None]) -> StreamPair:
    """Return a stream of the guest as a pair of asyncio's streams.

    keep: is called with the task that is to end before the connection is closed.
    """
    reader = asyncio.StreamReader(limit=_HIGH)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = _GuestTransport(stream, protocol)
    keep(transport.main)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


@dataclass(frozen=True)
class Accepted:
    """A connection that was made to a `GuestListener`. host, port: of the peer; empty and 0 on a Unix socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    port: int


class Backlog:
    """The connections that a guest tells of on the stream of `listen` and that nobody has accepted yet.

    window: how many bytes the guest may send on each at first. request: the `listen`.
    """

    def __init__(self, connection: Connection, window: int, request: Request) -> None:
        self._request = request
        self._connection = connection
        self._expected = ExpectedStream("stream", window)
        self._news = bytearray()
        self.waiting: deque[tuple[GuestStream, str, int]] = deque()

    def take(self, data: bytes) -> None:
        """Open the streams that a line tells of, before frames of theirs are looked at."""
        *lines, self._news = (self._news + data).split(b"\n")
        for line in lines:
            self._adopt(bytes(line))
        if len(self._news) > _NEWS_MAX:
            raise StreamViolation("no end of what is told of a connection")

    def _adopt(self, line: bytes) -> None:
        try:
            value = decode_json(line)
            if type(value) is dict and "refused" in value:
                return
            shape = Shape(value, "what is told of a connection")
            host, port = "", 0
            if type(value) is dict and "host" in value:
                host, port = shape.member("host").text(), shape.member("port").integer()
            stream = self._connection.adopt_stream(value, self._expected, self._request)
        except (JsonError, ShapeError) as error:
            raise StreamViolation(str(error)) from None
        if len(self.waiting) < BACKLOG:
            self.waiting.append((stream, host, port))
        else:
            stream.drop("too many connections wait to be accepted")


class GuestListener:
    """A socket that is listened on in the guest, made by `Guest.listen`: iterate over its connections.

    host, port: where it listens; empty and 0 on a Unix socket. Leaving it as a context manager ends
    the listening; connections go on, but those that were not accepted.
    """

    def __init__(self, connection: Connection, stream: GuestStream, backlog: Backlog, host: str, port: int) -> None:
        self._connection = connection
        self._stream = stream
        self._backlog = backlog
        self.host = host
        self.port = port

    async def __aenter__(self) -> GuestListener:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Listen no more."""
        await self._stream.reset()
        while self._backlog.waiting:
            stream, _, _ = self._backlog.waiting.popleft()
            await stream.reset()

    def __aiter__(self) -> GuestListener:
        return self

    async def __anext__(self) -> Accepted:
        accepted = await self._next()
        if accepted is None:
            raise StopAsyncIteration
        stream, host, port = accepted
        reader, writer = make_pair(stream, self._connection.keep)
        return Accepted(reader, writer, host, port)

    async def accept_stream(self) -> GuestStream:
        """Return the next connection as a stream. Raises StreamBroken where the guest listens no more."""
        accepted = await self._next()
        if accepted is None:
            raise StreamBroken("the guest listens no more", request=self._stream.request)
        return accepted[0]

    async def _next(self) -> tuple[GuestStream, str, int] | None:
        while not self._backlog.waiting:
            if not await self._stream.read():
                return None
        return self._backlog.waiting.popleft()
