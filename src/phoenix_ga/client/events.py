"""Events of a guest, as they happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import ConnectionLostError, GuestTimeoutError, PhoenixError
from phoenix_ga.client.json_lines import JsonLines
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream

LOST: Final = "CONNECTION_LOST"
RESTORED: Final = "CONNECTION_RESTORED"
# Seconds between attempts to subscribe again.
_PAUSE: Final = 0.5
_NAME_MAX: Final = 100
_MICROSECOND: Final = 1e-6


@dataclass(frozen=True)
class GuestEvent:
    """An event. docs/events.md lists all.

    Attributes:
        name: Such as `ADDRESS_ADDED`.
        data: Its members. Strings come from the guest: escape them before you show them.
        timestamp: The time of the guest, in seconds since the epoch; of CONNECTION_LOST and CONNECTION_RESTORED, that
            of the host.
    """

    name: str
    data: dict[str, Any]
    timestamp: float


@dataclass(frozen=True)
class Subscription:
    """What the agent answers: the stream, which agent and which boot it is, and what it cannot tell, with reasons."""

    stream: GuestStream
    agent: str
    boot: str
    unavailable: dict[str, str]


Subscribe = Callable[[], Awaitable[Subscription]]


class Events:
    """The events of a guest. `async for event in events` yields each as it happens.

    If the guest was connected with `reconnect`, the loss of the connection is an event, CONNECTION_LOST, and so is
    its return, CONNECTION_RESTORED: between them, events may have been missed.

    Attributes:
        unavailable: The events that the guest cannot tell, with the reasons.
        stream: The stream on which they arrive. As a context manager, the object resets it at the end of the body.
    """

    unavailable: dict[str, str]
    stream: GuestStream

    def __init__(self, subscribe: Subscribe, subscription: Subscription, patience: float | None) -> None:
        self._subscribe = subscribe
        self._patience = patience
        self._lost = False
        self._use(subscription)

    def _use(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.stream = subscription.stream
        self.unavailable = subscription.unavailable
        self._lines = JsonLines(self.stream, "events")

    async def __aenter__(self) -> Events:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> GuestEvent:
        if self._lost:
            return await self._restore()
        try:
            reader = await self._lines.next()
        except ConnectionLostError as error:
            if self._patience is None:
                raise
            self._lost = True
            return GuestEvent(LOST, {"reason": error.text}, time.time())
        if reader is None:
            raise StopAsyncIteration
        try:
            return _read(reader)
        except ReadError as error:
            raise self._lines.broken(error) from None

    async def _restore(self) -> GuestEvent:
        before = self._subscription
        failed: PhoenixError | None = None
        try:
            async with timeouts.timeout(self._patience):
                while True:
                    try:
                        self._use(await self._subscribe())
                        break
                    except (ConnectionLostError, GuestTimeoutError) as error:
                        # Behind QEMU, the connection stays while the agent is started again.
                        failed = error
                    await asyncio.sleep(_PAUSE)
        except asyncio.TimeoutError as error:
            if isinstance(error, PhoenixError):
                raise
            raise failed or GuestTimeoutError(f"no connection within {self._patience:g} s") from None
        self._lost = False
        booted = before.boot != self._subscription.boot
        data = {"agent_restarted": booted or before.agent != self._subscription.agent, "guest_booted": booted}
        return GuestEvent(RESTORED, data, time.time())


def read_subscription(reader: Reader, stream: GuestStream) -> Subscription:
    """Return what the agent has answered. Raises ReadError."""
    unavailable = reader.member("unavailable").items(
        lambda item: (item.member("name").text(), item.member("reason").text())
    )
    return Subscription(stream, reader.member("agent").text(), reader.member("boot").text(), dict(unavailable))


def _read(reader: Reader) -> GuestEvent:
    name = reader.member("event").text()
    if len(name) > _NAME_MAX:
        raise ReadError("the name of an event is too long")
    timestamp = reader.member("timestamp")
    seconds, microseconds = (timestamp.member(unit).integer() for unit in ("seconds", "microseconds"))
    return GuestEvent(name, reader.member("data").object(), seconds + microseconds * _MICROSECOND)
