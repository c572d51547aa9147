"""The connection to a guest, reconnected on demand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.connection import Connection
from phoenix_ga.client.errors import ConnectError, ConnectionLostError, GuestTimeoutError, PhoenixError

# Between two attempts, in seconds.
_FIRST_PAUSE: Final = 0.1
_PAUSE_MAX: Final = 5.0

Open = Callable[[], Awaitable[Connection]]


class Reconnector:
    """Provides the connection for each call. Use `Reconnector.open`.

    patience: seconds to retry, at first and after the connection was lost; None: connect once.
    """

    def __init__(self, open_one: Open, connection: Connection, patience: float | None) -> None:
        self._open_one = open_one
        self._connection = connection
        self._patience = patience
        self._ended = False
        self._lock = asyncio.Lock()
        self._attempt: asyncio.Future[Connection] | None = None

    def __repr__(self) -> str:
        return repr(self._connection)

    @classmethod
    async def open(cls, open_one: Open, patience: float | None) -> Reconnector:
        """Connect for the first time. Raises what `open_one` raises."""
        connection = await (open_one() if patience is None else _retry(open_one, patience))
        return cls(open_one, connection, patience)

    @property
    def name(self) -> str:
        """The endpoint."""
        return self._connection.name

    @property
    def closed(self) -> bool:
        """Whether all further calls fail."""
        return self._ended or (self._patience is None and self._connection.closed)

    async def connection(self) -> Connection:
        """Return the connection; reconnect first if it was lost and that is enabled.

        Raises ConnectError, GuestTimeoutError and ConnectionLostError.
        """
        if self._patience is None or self._ended or not self._connection.closed:
            return self._connection
        async with self._lock:
            if self._connection.closed and not self._ended:
                await self._connection.close()
                self._attempt = asyncio.ensure_future(_retry(self._open_one, self._patience))
                try:
                    connection = await self._attempt
                except asyncio.CancelledError:
                    if self.closed:
                        raise ConnectionLostError("the connection was closed") from None
                    raise
                if self.closed:
                    await connection.close()
                else:
                    self._connection = connection
        return self._connection

    @property
    def patience(self) -> float | None:
        """Seconds for which it reconnects; None if it does not."""
        return self._patience

    def insist(self, patience: float) -> None:
        """Reconnect from now on if the connection is lost, for up to `patience` seconds; not if it was closed."""
        if self._patience is None or self._patience < patience:
            self._patience = patience

    def own_task(self, task: asyncio.Task[None]) -> None:
        """Cancel a task when the current connection ends."""
        self._connection.own_task(task)

    async def close(self) -> None:
        """Close the connection for good. May be called twice."""
        self._ended = True
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait({self._attempt})
        await self._connection.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the current connection. Raises the error that ended it, unless it was closed."""
        await self._connection.wait_closed()


async def _retry(open_one: Open, patience: float) -> Connection:
    """Connect, with growing pauses, for up to `patience` seconds. Raises the last error."""
    failed: PhoenixError | None = None
    pause = _FIRST_PAUSE
    try:
        async with timeouts.timeout(patience):
            while True:
                try:
                    return await open_one()
                except (ConnectError, GuestTimeoutError, ConnectionLostError) as error:
                    failed = error
                # Jitter: many clients may have lost the same host.
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _PAUSE_MAX)
    except asyncio.TimeoutError:
        raise failed or GuestTimeoutError(f"no connection within {patience:g} s") from None
