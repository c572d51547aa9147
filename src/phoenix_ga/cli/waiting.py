"""Waiting for conditions of a guest, through restarts of its agent and of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from errno import EBUSY
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.waiting_syntax import AGENT, EXEC, SHUTDOWN
from phoenix_ga.client import (
    CommandError,
    ConnectError,
    ConnectionLostError,
    GuestTimeoutError,
    PhoenixError,
    timeouts,
)
from phoenix_ga.client.host_sockets import held_paths
from phoenix_ga.client.probe import ANSWERS, BUSY, probe

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

Tell = Callable[[str, str], Awaitable[None]]

# Nothing on the host tells that a guest can be reached, and nothing in the guest that a program would succeed.
PERIOD: Final = 1.0
_ANSWER_TIME: Final = 3.0


class GuestWait:
    """Waits for conditions of one guest, and tells each once.

    Args:
        any: End with the first that is fulfilled.
        tell: Is called with a condition and what was found.
    """

    def __init__(self, options: Options, known: KnownGuest, conditions: Sequence[str], any: bool, tell: Tell) -> None:
        self._options = options
        self._known = known
        self._pending = dict.fromkeys(conditions)
        self._any = any
        self._tell = tell
        self._done = False
        self._connected = 0.0

    async def run(self, timeout: float | None) -> None:
        """Wait for all.

        Args:
            timeout: In seconds; None for no limit.

        Raises:
            GuestTimeoutError: They were not fulfilled in time.
            CommandError: The agent does not know a condition.
        """
        try:
            async with timeouts.timeout(timeout):
                while not self._done:
                    await self._try()
        except asyncio.TimeoutError as error:
            if isinstance(error, PhoenixError):
                raise
            raise GuestTimeoutError(f"not fulfilled within {timeout:g} s: {', '.join(self._pending)}") from None

    async def _try(self) -> None:
        try:
            async with self._options.connect_among(self._known) as guest:
                await self._with(guest)
        except (ConnectError, ConnectionLostError, GuestTimeoutError):
            if not self._done and SHUTDOWN in self._pending:
                await self._check_off()
        except CommandError as error:
            # Filesystems are frozen for a moment.
            if error.code != EBUSY:
                raise
        if not self._done:
            await asyncio.sleep(PERIOD)

    async def _with(self, guest: Guest) -> None:
        self._connected = self._connected or time.monotonic()
        if AGENT in self._pending:
            await self._fulfil(AGENT, await guest.ping())
        work = [self._run(guest, each) for each in self._pending if each.startswith(EXEC)]
        others = [each for each in self._pending if each != AGENT and not each.startswith(EXEC)]
        if others and not self._done:
            work.append(self._ask(guest, others))
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            while tasks and not self._done:
                finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    tasks.remove(task)
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, guest: Guest, conditions: list[str]) -> None:
        async with guest.waiting(*conditions, any=self._any) as waiting:
            async for fulfilled in waiting:
                await self._fulfil(fulfilled.condition, fulfilled.found)
                if self._done:
                    return

    async def _run(self, guest: Guest, condition: str) -> None:
        command = condition[len(EXEC) :]
        while True:
            completed = await guest.run(["sh", "-c", command], limit=1024 * 1024)
            if completed.returncode == 0:
                output = completed.stdout.decode("utf-8", "surrogateescape")
                await self._fulfil(condition, output.partition("\n")[0])
                return
            await asyncio.sleep(PERIOD)

    async def _fulfil(self, condition: str, found: str) -> None:
        if not self._done and condition in self._pending:
            del self._pending[condition]
            self._done = self._any or not self._pending
            await self._tell(condition, found)

    async def _check_off(self) -> None:
        """Find out whether the guest is off, or has booted since."""
        state = await probe(self._known, _ANSWER_TIME, held_paths())
        if state.state not in (ANSWERS, BUSY):
            await self._fulfil(SHUTDOWN, "off")
        elif self._connected and state.uptime is not None and state.uptime < time.monotonic() - self._connected:
            await self._fulfil(SHUTDOWN, "rebooted")
