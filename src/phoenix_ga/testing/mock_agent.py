"""An agent on a Unix socket that answers from a script."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from phoenix_ga.client import MockTransport, Transport
from phoenix_ga.wire.messages import Request

_PIECE = 2**18
_STOP_TIMEOUT = 5.0


@contextlib.contextmanager
def until_it_leaves(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Serve a client in the body, and hang up; that it leaves before is no error."""
    try:
        yield
    except OSError:
        pass
    finally:
        writer.close()


async def play(transport: Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let a transport talk to the client behind a connection until either of them leaves."""

    async def forward() -> None:
        with until_it_leaves(writer):
            while data := await transport.read():
                writer.write(data)
                await writer.drain()

    forwarding = asyncio.ensure_future(forward())
    with until_it_leaves(writer):
        while received := await reader.read(_PIECE):
            await transport.write(received)
    forwarding.cancel()


class Pouring(MockTransport):
    """Sends the same piece again and again, whatever it is asked, until it is closed.

    Args:
        pause: after each piece, in seconds.
    """

    def __init__(self, piece: bytes, pause: float) -> None:
        super().__init__()
        self._piece = piece
        self._pause = pause

    async def read(self) -> bytes:
        await asyncio.sleep(self._pause)
        return b"" if self.closed else self._piece

    async def write(self, data: bytes) -> None:
        """Drop what the client sends."""


class MockAgent:
    """An agent on `agent.sock` of a directory, for programs that connect to an endpoint. A context manager.

    Attributes:
        answers: by command, as those of `MockTransport`; they hold for clients that connect from now on. The
            handshake is always answered.
        endpoint: where the agent is.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.answers: dict[str, Any] = {}
        path = os.path.join(directory, "agent.sock")
        self.endpoint = f"unix:{path}"
        self._transports: list[MockTransport] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(path, started), daemon=True)
        self._thread.start()
        started.wait()

    @property
    def asked(self) -> list[str]:
        """The names of the commands so far."""
        return [request.execute for request in self.requests]

    @property
    def requests(self) -> list[Request]:
        """The requests so far, of all clients, without those of the handshake."""
        return [request for transport in self._transports for request in transport.requests]

    def _serve(self, path: str, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_unix_server(self._converse, path))
        self._loop.call_soon(started.set)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = MockTransport({name: answer for name, answer in self.answers.items() if name != "sync"})
        self._transports.append(transport)
        await play(transport, reader, writer)

    def __enter__(self) -> MockAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_TIMEOUT)
