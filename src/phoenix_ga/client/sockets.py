"""Connections into the guest and out of it, as asyncio streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from phoenix_ga.client.connection import Connection, ExpectedStream
from phoenix_ga.client.errors import PhoenixError, StreamError
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import Request
from phoenix_ga.wire.streams import StreamViolation

# Bytes that are buffered in each direction before the sender is stopped.
_HIGH: Final = 256 * 1024
# The longest announcement of a connection, in bytes.
_ANNOUNCEMENT_MAX: Final = 4096
# Connections that may wait to be accepted; each may send a window of data meanwhile.
BACKLOG: Final = 64


class StreamPair(NamedTuple):
    """A connection as a pair of asyncio streams. As a context manager, it closes the connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def __aenter__(self) -> StreamPair:
        return self

    async def __aexit__(self, *error: object) -> None:
        await _close(self.writer)


class Accepted(NamedTuple):
    """An accepted connection. host, port: of the peer; empty and 0 for a Unix socket.

    As a context manager, it closes the connection.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    port: int

    async def __aenter__(self) -> Accepted:
        return self

    async def __aexit__(self, *error: object) -> None:
        await _close(self.writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


class _GuestTransport(asyncio.Transport):
    """An asyncio transport over a stream of the guest, which it resets when it is closed."""

    def __init__(self, stream: GuestStream, protocol: asyncio.StreamReaderProtocol) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._output = bytearray()
        self._output_changed = asyncio.Event()
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
            raise RuntimeError("write after write_eof")
        self._output += data
        self._output_changed.set()
        if len(self._output) > _HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._eof = True
        self._output_changed.set()

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send buffered data, then end; received data is dropped."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            if self._written and self._reading is not None:
                self._reading.cancel()

    def abort(self) -> None:
        """Reset the stream."""
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
            if isinstance(result, PhoenixError):
                raise result

    def _ended(self, main: asyncio.Task[None]) -> None:
        error = None if main.cancelled() else main.exception()
        self._protocol.connection_lost(None if error is None else ConnectionResetError(str(error)))

    async def _read(self) -> None:
        while data := await self._stream.read_chunk():
            self._protocol.data_received(data)
            await self._may_read.wait()
        self._protocol.eof_received()

    async def _write(self) -> None:
        while self._output or not self._eof:
            self._output_changed.clear()
            data, self._output = self._output, bytearray()
            await self._stream.write(data)
            if self._paused:
                self._paused = False
                self._protocol.resume_writing()
            if not (self._output or self._eof):
                await self._output_changed.wait()
        await self._stream.end()
        self._written = True
        if self._closing and self._reading is not None:
            self._reading.cancel()


def make_pair(stream: GuestStream, own_task: Callable[[asyncio.Task[None]], None]) -> StreamPair:
    """Return a stream of the guest as a pair of asyncio streams.

    own_task: is called with the task that must be cancelled when the connection to the guest is closed.
    """
    reader = asyncio.StreamReader(limit=_HIGH)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = _GuestTransport(stream, protocol)
    own_task(transport.main)
    return StreamPair(reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))


class Backlog:
    """The connections that were announced on the stream of `listen` and are not accepted yet.

    window: bytes that the guest may send on each at first. request: the `listen`.
    """

    def __init__(self, connection: Connection, window: int, request: Request) -> None:
        self._request = request
        self._connection = connection
        self._expected = ExpectedStream("stream", window)
        self._unfinished = bytearray()
        self.waiting: deque[tuple[GuestStream, str, int]] = deque()

    def receive(self, data: bytes) -> None:
        """Open the streams that are announced, before their first frames are processed."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self._adopt(bytes(line))
        if len(self._unfinished) > _ANNOUNCEMENT_MAX:
            raise StreamViolation("the announcement of a connection is too long")

    def _adopt(self, line: bytes) -> None:
        try:
            value = decode_json(line)
            if type(value) is dict and "refused" in value:
                return
            reader = Reader(value, "the announcement")
            host, port = "", 0
            if type(value) is dict and "host" in value:
                host, port = reader.member("host").text(), reader.member("port").integer()
            stream = self._connection.adopt_stream(value, self._expected, self._request)
        except (JsonError, ReadError) as error:
            raise StreamViolation(str(error)) from None
        if len(self.waiting) < BACKLOG:
            self.waiting.append((stream, host, port))
        else:
            stream.drop("the backlog is full")


class GuestListener:
    """A listening socket in the guest. `async for connection in listener` accepts connections.

    As a context manager, it stops listening at the end of the body; accepted connections stay open.

    Attributes:
        host, port: the address; empty and 0 for a Unix socket.
    """

    host: str
    port: int

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
        """Stop listening. Connections that were not accepted are reset."""
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
        return self._make_accepted(*accepted)

    async def accept(self) -> Accepted:
        """Wait for the next connection and return it. Raises StreamError if the guest stops listening."""
        return self._make_accepted(*await self._require_next())

    async def accept_stream(self) -> GuestStream:
        """Wait for the next connection and return its stream. Raises StreamError if the guest stops listening."""
        return (await self._require_next())[0]

    def _make_accepted(self, stream: GuestStream, host: str, port: int) -> Accepted:
        reader, writer = make_pair(stream, self._connection.own_task)
        return Accepted(reader, writer, host, port)

    async def _require_next(self) -> tuple[GuestStream, str, int]:
        accepted = await self._next()
        if accepted is None:
            raise StreamError("the guest stopped listening", request=self._stream.request)
        return accepted

    async def _next(self) -> tuple[GuestStream, str, int] | None:
        while not self._backlog.waiting:
            if not await self._stream.read_chunk():
                return None
        return self._backlog.waiting.popleft()
