"""A small HTTP/1.1 server for scrapes: GET and HEAD, connections that stay open, and nothing without a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from phoenix_ga.client import timeouts

if TYPE_CHECKING:
    import ssl

TEXT: Final = "text/plain; charset=utf-8"
_HEAD_MAX: Final = 16 * 1024
_HEADERS_MAX: Final = 100
_CONNECTIONS_MAX: Final = 1024
# Seconds for a request to arrive, for which a connection may be idle, and for an answer to be taken.
_IDLE_TIMEOUT: Final = 120.0
_WRITE_TIMEOUT: Final = 30.0


@dataclass(frozen=True)
class HttpRequest:
    """A request. headers: by their names in lower case. arguments: the first value of each."""

    method: str
    path: str
    arguments: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class HttpResponse:
    """A response."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class _BadRequestError(Exception):
    """The client does not speak HTTP as it should."""


class HttpServer:
    """Serves connections by calling `handler` with each request."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.AbstractServer] = []

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen on an address; return the port. Raises OSError."""
        server = await asyncio.start_server(self._accept, host or None, port, limit=_HEAD_MAX, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another one may follow."""
        async with timeouts.timeout(_IDLE_TIMEOUT):
            try:
                request, keep = _parse(await reader.readuntil(b"\r\n\r\n"))
                response = None
            except (asyncio.LimitOverrunError, _BadRequestError):
                request, keep = HttpRequest("GET", "", {}, {}), False
                response = HttpResponse(HTTPStatus.BAD_REQUEST, b"bad request\n")
        if response is None:
            response = await self._handler(request)
        headers = {
            "Content-Type": response.content_type,
            "Content-Length": str(len(response.body)),
            "X-Content-Type-Options": "nosniff",
            "Connection": "keep-alive" if keep else "close",
            **response.headers,
        }
        lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method != "HEAD":
            writer.write(response.body)
        async with timeouts.timeout(_WRITE_TIMEOUT):
            await writer.drain()
        return keep


def _parse(head: bytes) -> tuple[HttpRequest, bool]:
    """Return the request, and whether another one may follow on the connection."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or len(lines) > _HEADERS_MAX:
        raise _BadRequestError
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _BadRequestError
        headers[name.lower()] = value.strip()
    try:
        url = urlsplit(words[1])
        arguments = {name: values[0] for name, values in parse_qs(url.query, max_num_fields=_HEADERS_MAX).items()}
    except ValueError:
        raise _BadRequestError from None
    # A body would have to be read before the next request.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and not has_body
    return HttpRequest(words[0], url.path, arguments, headers), keep
