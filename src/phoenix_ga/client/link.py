"""The link to a guest: one connection, or where that is asked for a new one for each that is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.connection import Connection
from phoenix_ga.client.errors import ConnectFailed, GuestError, GuestTimeout, LinkLost

# Between two attempts, in seconds.
_FIRST_PAUSE: Final = 0.1
_PAUSE_MAX: Final = 5.0

Open = Callable[[], Awaitable[Connection]]


class Link:
    """Gives the connection that calls go over. Use `Link.open`.

    patience: how long one is tried for, in seconds, at first and when it was lost; None: once, at first.
    """

    def __init__(self, open_one: Open, connection: Connection, patience: float | None) -> None:
        self._open_one = open_one
        self._connection = connection
        self._patience = patience
        self._ended = False
        self._turn = asyncio.Lock()
        self._attempt: asyncio.Future[Connection] | None = None

    def __repr__(self) -> str:
        return repr(self._connection)

    @classmethod
    async def open(cls, open_one: Open, patience: float | None) -> Link:
        """Return the link with its first connection. Raises what `open_one` raises."""
        connection = await (open_one() if patience is None else _patiently(open_one, patience))
        return cls(open_one, connection, patience)

    @property
    def name(self) -> str:
        """The endpoint."""
        return self._connection.name

    @property
    def closed(self) -> bool:
        """Whether calls fail from now on."""
        return self._ended or (self._patience is None and self._connection.closed)

    async def connection(self) -> Connection:
        """Return the connection, a new one where it was lost and that is asked for.

        Raises ConnectFailed, GuestTimeout and LinkLost.
        """
        if self._patience is None or self._ended or not self._connection.closed:
            return self._connection
        async with self._turn:
            if self._connection.closed and not self._ended:
                await self._connection.close()
                self._attempt = asyncio.ensure_future(_patiently(self._open_one, self._patience))
                try:
                    connection = await self._attempt
                except asyncio.CancelledError:
                    if self.closed:
                        raise LinkLost("the connection was closed") from None
                    raise
                if self.closed:
                    await connection.close()
                else:
                    self._connection = connection
        return self._connection

    def keep(self, task: asyncio.Task[None]) -> None:
        """Let a task end with the connection that there is now, at the latest."""
        self._connection.keep(task)

    async def close(self) -> None:
        """End the link for good. May be called twice."""
        self._ended = True
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait({self._attempt})
        await self._connection.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection that there is now. Raises what ended it, if that was not `close`."""
        await self._connection.wait_closed()


async def _patiently(open_one: Open, patience: float) -> Connection:
    """Try until it works. Raises the last error when `patience` seconds have passed."""
    failed: GuestError | None = None
    pause = _FIRST_PAUSE
    try:
        async with timeouts.timeout(patience):
            while True:
                try:
                    return await open_one()
                except (ConnectFailed, GuestTimeout, LinkLost) as error:
                    failed = error
                # Many clients that lost one host do not come back all at once.
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _PAUSE_MAX)
    except asyncio.TimeoutError:
        raise failed or GuestTimeout(f"no connection within {patience:g} s") from None
