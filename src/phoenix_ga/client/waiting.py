"""Waiting for conditions in the guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from phoenix_ga.client.json_lines import JsonLines
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream

# What was found is a path at most, which may have surrogates.
_FOUND_MAX: Final = 16 * 1024


@dataclass(frozen=True)
class Fulfilled:
    """A condition that is fulfilled.

    Attributes:
        condition: The condition, as it was asked for.
        found: What was found, such as the address.
    """

    condition: str
    found: str


class Waiting:
    """Conditions that the guest waits for. `async for fulfilled in waiting` yields each when it is fulfilled.

    Attributes:
        stream: The stream on which they are told. As a context manager, the object resets it at the end of the body.
    """

    stream: GuestStream

    def __init__(self, stream: GuestStream, conditions: Sequence[str], any: bool) -> None:
        self.stream = stream
        self._lines = JsonLines(stream, "wait-for")
        self._pending = dict(enumerate(conditions))
        self._any = any
        self._told = False

    async def __aenter__(self) -> Waiting:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()

    def __aiter__(self) -> Waiting:
        return self

    async def __anext__(self) -> Fulfilled:
        reader = await self._lines.next()
        if reader is None:
            if self._pending and not (self._any and self._told):
                raise self._lines.broken("it ended too early")
            raise StopAsyncIteration
        try:
            return self._read(reader)
        except ReadError as error:
            raise self._lines.broken(error) from None

    def _read(self, reader: Reader) -> Fulfilled:
        condition = self._pending.pop(reader.member("condition").integer(), None)
        if condition is None:
            raise ReadError("no such condition is waited for")
        found = reader.member("found").text()
        if len(found) > _FOUND_MAX:
            raise ReadError("what was found is too long")
        self._told = True
        return Fulfilled(condition, found)
