"""Sockets as the ends of streams: connections, and listening sockets."""

from __future__ import annotations

import _socket
from errno import EIO

from phoenix_ga.agent.core.loop import READABLE
from phoenix_ga.agent.endpoints.descriptor import DescriptorEndpoint
from phoenix_ga.agent.endpoints.endpoint import Endpoint
from phoenix_ga.agent.operations.sockets import SocketFile
from phoenix_ga.wire.json_text import encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream

# The message that announces a connection is shorter.
_MESSAGE_SIZE: Final = 512
# Seconds before the next attempt, after accept(2) failed.
_RETRY_PAUSE: Final = 1.0


class SocketEndpoint(DescriptorEndpoint):
    """A connected socket. Each direction ends independently."""

    def __init__(self, connection: _socket.socket) -> None:
        super().__init__(connection.fileno(), connection.fileno())
        self._connection = connection

    def end_sink(self) -> None:
        try:
            self._connection.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # The peer is gone, and reading fails as well.

    def read_failed(self, error: OSError) -> None:
        self._fail(error)

    def write_failed(self, error: OSError) -> None:
        self._fail(error)

    def close_descriptor(self, fd: int) -> None:
        self._connection.detach()
        super().close_descriptor(fd)

    def _fail(self, error: OSError) -> None:
        assert self._stream is not None
        self._stream.fail(error.strerror or str(error), error.errno or EIO)


class ListeningEndpoint(Endpoint):
    """A listening socket. Each connection gets a stream, announced by a line of JSON.

    Args:
        window: how many bytes of each connection may be sent at first.
        file: the path of a Unix socket, which is removed at the end.
    """

    def __init__(self, listener: _socket.socket, window: int, file: SocketFile | None = None) -> None:
        self._listener = listener
        self._credit = window
        self._file = file
        self._stream: OpenStream | None = None

    def start(self, stream: OpenStream) -> None:
        self._stream = stream
        stream.watch(self._listener.fileno(), lambda events: stream.ready(), READABLE)

    def pull(self, size: int) -> Piece:
        assert self._stream is not None
        if size < _MESSAGE_SIZE:
            return b""
        try:
            fd, address = self._listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return b""
        except OSError:
            # The connection was aborted, or no file descriptor is left.
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
        message: dict[str, Any] = {"stream": opened.stream.id, "window": endpoint.window}
        if isinstance(address, tuple):
            message.update(host=address[0], port=address[1])
        return encode_json(message) + b"\n"

    def closed(self, loop: Loop, workers: Workers) -> None:
        if self._stream is not None:
            loop.unwatch(self._listener.fileno())
        if self._file is not None:
            self._file.remove()
        self._listener.close()
