"""A port of QEMU: the client's connection stays open while the agent behind it comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path

from phoenix_ga.testing.mock_agent import until_it_leaves

_PIECE = 64 * 1024


class QemuPort:
    """A Unix socket, `port.sock` of a directory, that is joined to the socket of an agent.

    As behind QEMU, a client is not told that the agent has ended: its bytes wait for the next agent. What the agent
    had already been given is lost.

    Attributes:
        endpoint: Where clients connect.
        passed: Number of bytes that were given to clients and agents so far.
        pause: Seconds to wait after each piece of at most 64 KiB.
    """

    def __init__(self, directory: Path, agent_socket: Path) -> None:
        self.endpoint = f"unix:{directory}/port.sock"
        self.passed = 0
        self.pause = 0.0
        self._path = f"{directory}/port.sock"
        self._agent_socket = agent_socket
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._started.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_unix_server(self._converse, self._path))
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with until_it_leaves(writer), contextlib.suppress(EOFError):
            try:
                while True:
                    await self._join(reader, writer)
            except asyncio.CancelledError:
                # Before Python 3.12, asyncio reports a cancelled handler as an error.
                pass

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client and an agent until the agent ends. Raises EOFError if the client leaves."""
        # Not a stream of asyncio: if a write to it failed, that would forget what the agent has said before it ended.
        agent = socket.socket(socket.AF_UNIX)
        agent.setblocking(False)
        try:
            agent.connect(str(self._agent_socket))
        except OSError:
            agent.close()
            await asyncio.sleep(0.01)
            return

        async def passes(data: bytes) -> None:
            self.passed += len(data)
            if self.pause:
                await asyncio.sleep(self.pause)

        async def from_agent() -> None:
            with contextlib.suppress(OSError):
                while data := await self._loop.sock_recv(agent, _PIECE):
                    writer.write(data)
                    await writer.drain()
                    await passes(data)

        async def from_client() -> None:
            while data := await reader.read(_PIECE):
                # An agent that has ended meanwhile is noticed by the other task.
                with contextlib.suppress(OSError):
                    await self._loop.sock_sendall(agent, data)
                await passes(data)
            raise EOFError

        tasks = [asyncio.ensure_future(from_agent()), asyncio.ensure_future(from_client())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            agent.close()

    def __enter__(self) -> QemuPort:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
