"""Sockets as the ends of streams: connections, and listening for them."""

from __future__ import annotations

import _socket
import os
from errno import EIO

from phoenix_ga.agent.core.loop import READABLE
from phoenix_ga.agent.endpoints.descriptor import DescriptorEndpoint
from phoenix_ga.agent.endpoints.endpoint import Endpoint
from phoenix_ga.wire.json_text import encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream

# What tells of a new connection is shorter.
_NEWS_SIZE: Final = 512
# How long to wait where a connection could not be taken, in seconds.
_RETRY_PAUSE: Final = 1.0


class SocketEndpoint(DescriptorEndpoint):
    """A connected socket. Each direction ends by itself."""

    def __init__(self, connection: _socket.socket) -> None:
        super().__init__(connection.fileno(), connection.fileno())
        self._connection = connection

    def end_sink(self) -> None:
        try:
            self._connection.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # The peer is gone, which reading tells as well.

    def read_failed(self, error: OSError) -> None:
        self._break(error)

    def write_failed(self, error: OSError) -> None:
        self._break(error)

    def release(self, fd: int) -> None:
        self._connection.detach()
        super().release(fd)

    def _break(self, error: OSError) -> None:
        assert self._stream is not None
        self._stream.fail(error.strerror or str(error), error.errno or EIO)


class ListeningEndpoint(Endpoint):
    """A socket that is listened on. Each connection gets a stream, of which a line of JSON tells.

    window: how many bytes of each connection may be sent at first. path: of a Unix socket, which is
    removed at the end, or empty.
    """

    def __init__(self, listener: _socket.socket, window: int, path: bytes) -> None:
        self._listener = listener
        self._credit = window
        self._path = path
        self._stream: OpenStream | None = None

    def start(self, stream: OpenStream) -> None:
        self._stream = stream
        stream.watch(self._listener.fileno(), lambda events: stream.ready(), READABLE)

    def pull(self, size: int) -> Piece:
        assert self._stream is not None
        if size < _NEWS_SIZE:
            return b""
        try:
            fd, address = self._listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return b""
        except OSError:
            # It is gone already, or no file descriptor is left for it.
            self._stream.loop.call_later(_RETRY_PAUSE, self._stream.ready)
            return b""
        connection = _socket.socket(fileno=fd)
        connection.setblocking(False)
        endpoint = SocketEndpoint(connection)
        try:
            opened = self._stream.open_another(endpoint, self._credit)
        except OSError as error:
            return encode_json({"refused": str(error.strerror)}) + b"\n"
        opened.start()
        news: dict[str, Any] = {"stream": opened.stream.id, "window": endpoint.window}
        if isinstance(address, tuple):
            news.update(host=address[0], port=address[1])
        return encode_json(news) + b"\n"

    def closed(self, loop: Loop, workers: Workers) -> None:
        if self._stream is not None:
            loop.unwatch(self._listener.fileno())
        self._listener.close()
        if self._path:
            try:
                os.unlink(self._path)
            except OSError:
                pass
