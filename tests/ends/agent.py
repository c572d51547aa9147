"""The agent end: an agent on Unix sockets that answers from a script, however hostile the script is.

What a script may say is documented with `phoenix_ga.client.MockTransport`, which plays it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phoenix_ga.client import MockTransport, Transport
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from tests.support import until_it_leaves

_streams = itertools.count(1000)


def listed(*entries: Any) -> Callable[[Request], bytes]:
    """Return what answers `directory-entries` with objects as of `file-stat`,."""

    def line(entry: dict[str, Any], names: bool) -> bytes:
        numbers = [
            value["Sec"] * 10**9 + value["Nsec"] if isinstance(value, dict) else value
            for value in entry["stat"].values()
        ]
        texts = [entry.get(name, "") for name in ("user", "group", "target")] if names else []
        return json.dumps([entry["name"], *numbers, *texts]).encode() + b"\n"

    def answer(request: Request) -> bytes:
        number = next(_streams)
        stream = Stream(number, credit=1 << 30, window=0)
        pieces = [b"".join(encode_return({"stream": number}, request.tag))]
        lines = b"".join(line(entry, request.arguments["names"]) for entry in entries)
        for start in range(0, len(lines), 65536):
            payload = lines[start : start + 65536]
            pieces += [stream.data_header(len(payload)), payload]
        return b"".join([*pieces, stream.end({})])

    return answer


async def play(transport: Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let a transport talk to the client behind a connection until either of them leaves."""

    async def forward() -> None:
        with until_it_leaves(writer):
            while data := await transport.read():
                writer.write(data)
                await writer.drain()

    forwarding = asyncio.ensure_future(forward())
    with until_it_leaves(writer):
        while received := await reader.read(2**18):
            await transport.write(received)
    forwarding.cancel()


class ScriptedAgent:
    """An agent on `agent.sock` of a directory.

    answers: the script for clients that connect from now on; `sync` is always answered correctly.
    """

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Any] = {}
        self.endpoint = f"unix:{directory}/agent.sock"
        self._transports: list[MockTransport] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(f"{directory}/agent.sock", started), daemon=True)
        self._thread.start()
        started.wait()

    @property
    def asked(self) -> list[str]:
        """The names of the commands so far."""
        return [request.execute for request in self.requests]

    @property
    def requests(self) -> list[Request]:
        """The requests so far."""
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

    def __enter__(self) -> ScriptedAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
