"""Running commands over a connection, with one timeout for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from phoenix_ga.client.connection import Connection, ExpectedStream
from phoenix_ga.client.errors import ConnectionLostError, ProtocolError, with_request
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.reconnector import Reconnector
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.messages import Request

Result = TypeVar("Result")


class Unset:
    """The type of UNSET, which stands for a timeout that was not given; None means no limit."""


UNSET: Final = Unset()


class Caller:
    """Runs commands.

    reconnector: provides the connection. timeout: of each call, in seconds; None: no limit.
    """

    def __init__(self, reconnector: Reconnector, timeout: float | None) -> None:
        self.reconnector = reconnector
        self.timeout = timeout

    async def call(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float | Unset | None = UNSET
    ) -> Any:
        """Run a command and return its result, unchecked."""
        limit = self.timeout if isinstance(timeout, Unset) else timeout
        connection = await self.connection(command, arguments or {})
        return await connection.call(command, arguments or {}, limit)

    async def read(self, read: Callable[[Reader], Result], command: str, **arguments: Any) -> Result:
        """Run a command and return what `read` returns for its result."""
        return await self.read_with(read, command, arguments)

    async def read_with(self, read: Callable[[Reader], Result], command: str, arguments: dict[str, Any]) -> Result:
        """Do the same, with the arguments as a dictionary."""
        return read_answer(read, await self.call(command, arguments), Request(command, arguments))

    async def call_silent(self, command: str, arguments: dict[str, Any]) -> None:
        """Run a command of the QEMU dialect that answers only if it fails.

        Commands of this dialect are answered in order, so an answer to a later `guest-ping` means success. So does
        the end of the connection.
        """
        connection = await self.connection(command, arguments)
        tasks = [
            asyncio.ensure_future(connection.call(command, arguments, self.timeout)),
            asyncio.ensure_future(connection.call("guest-ping", {}, self.timeout)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    task.result()
                except ConnectionLostError:
                    pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def open(
        self, expected: Sequence[ExpectedStream], command: str, **arguments: Any
    ) -> tuple[Any, dict[str, GuestStream]]:
        """Run a command that opens streams; return its result and the streams by their members."""
        connection = await self.connection(command, arguments)
        return await connection.open_streams(command, arguments, self.timeout, expected)

    async def connection(self, command: str, arguments: dict[str, Any]) -> Connection:
        """Return the connection for a request."""
        with with_request(Request(command, arguments)):
            return await self.reconnector.connection()


def read_answer(read: Callable[[Reader], Result], value: Any, request: Request) -> Result:
    """Return what `read` returns for a result. Raises ProtocolError."""
    try:
        return read(Reader(value))
    except ReadError as error:
        raise ProtocolError(str(error), request) from None


async def read_opened(read: Callable[[Reader], Result], value: Any, streams: dict[str, GuestStream]) -> Result:
    """Do the same for a command that opened streams; reset these if it fails."""
    try:
        return read_answer(read, value, next(iter(streams.values())).request)
    except ProtocolError:
        for stream in streams.values():
            await stream.reset()
        raise


class CommandGroup:
    """Base class of the groups of commands, such as `guest.files`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
