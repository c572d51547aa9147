"""The guests of an exporter, and what it knows of them. A guest that hangs holds up nobody but who asks for it."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.exporter.formats import limited
from phoenix_ga.cli.exposition import Family, node_families
from phoenix_ga.client import (
    CommandError,
    ConnectError,
    Guest,
    GuestTimeoutError,
    KnownGuest,
    PhoenixError,
    connect,
    timeouts,
)
from phoenix_ga.client.discovery import known_guests, remote_guests, select_guests
from phoenix_ga.client.host_sockets import held_paths
from phoenix_ga.client.hub_control import ask_hub
from phoenix_ga.client.probe import ANSWERS, GONE, NOT_AN_AGENT, PHOENIX, QEMU_GA, SILENT, probe

if TYPE_CHECKING:
    from phoenix_ga.cli.context import Options

#: Default time limit for the probe of a guest, in seconds.
PROBE_TIMEOUT: Final = 10.0
#: Age in seconds up to which the state of a guest is reported without asking it again.
STATE_AGE: Final = 30.0
# Age in seconds up to which the list of guests is used.
_INVENTORY_AGE: Final = 30.0
# Time limit for asking a guest for its state, in seconds, and how many are asked at once.
_STATE_TIMEOUT: Final = 3.0
_PARALLEL: Final = 64
# The longest answer of a guest, in bytes.
_ANSWER_MAX: Final = 1024 * 1024
# The form that os-release(5) prescribes for ID. A target's labels are no place for anything longer.
_OS_ID: Final = re.compile(r"[a-z0-9._-]{1,32}")


@dataclass
class State:
    """What is known of a guest.

    Attributes:
        time: when it was found out, by the monotonic clock.
        state: as in `GuestState`.
        duration: of the request, in seconds.
        frozen: None if unknown.
        thaws_at: when the agent thaws automatically, by the monotonic clock.
        omitted: number of series left out of the last probe.
    """

    time: float = 0.0
    state: str = ""
    duration: float = 0.0
    dialect: str = ""
    version: str = ""
    system: str = ""
    os: str = ""
    frozen: bool | None = None
    thaws_at: float | None = None
    omitted: int = 0


@dataclass
class Target:
    """A guest of the exporter. lock: held while the exporter talks with it: a port serves one client at a time."""

    guest: KnownGuest
    state: State = field(default_factory=State)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def host(self) -> str:
        """The host that runs the guest."""
        return self.guest.source if self._is_remote else socket.gethostname()

    @property
    def source(self) -> str:
        """Where the guest was found."""
        return "ssh" if self._is_remote else self.guest.source

    @property
    def _is_remote(self) -> bool:
        return self.guest.name.startswith(f"{self.guest.source}/")


class ProbeError(Exception):
    """A guest gave no metrics."""


class Fleet:
    """The guests that an exporter may be asked for.

    Attributes:
        probes: number of probes so far, by result.
        unreachable: the other hosts that did not list their guests.
    """

    def __init__(self, options: Options, words: str, series_max: int) -> None:
        """Make a fleet.

        Args:
            words: as GUEST of phoenixctl; empty: all guests.
            series_max: the maximum number of series of a guest.
        """
        self._options = options
        self._words = words
        self._series_max = series_max
        self._targets: dict[str, Target] = {}
        self._listed = float("-inf")
        self._listing = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        self._refreshing = asyncio.Lock()
        self.probes = {"success": 0, "failure": 0}
        self.unreachable: list[str] = []

    async def targets(self) -> dict[str, Target]:
        """Return the guests by name. Raises EndpointError if they cannot be listed, and could not be before."""
        async with self._listing:
            if self._is_due:
                try:
                    found = await asyncio.get_running_loop().run_in_executor(None, self._list)
                except PhoenixError as error:
                    if self._listed == float("-inf"):
                        raise
                    complain(f"{error}; the earlier list of guests stays")
                else:
                    self.unreachable = [guest.source for guest in found if guest.error]
                    known = [guest for guest in found if not guest.error]
                    targets = {guest.name: self._targets.get(guest.name, Target(guest)) for guest in known}
                    for guest in known:
                        targets[guest.name].guest = guest
                    self._targets = targets
                self._listed = time.monotonic()
        return self._targets

    async def target(self, name: str) -> Target | None:
        """Return a guest by its name, None if there is none. Raises EndpointError as `targets`.

        While the guests are listed, which other hosts can delay, those that are known do not wait.
        """
        known = self._targets.get(name)
        if known is None:
            return (await self.targets()).get(name)
        if self._is_due and (self._background is None or self._background.done()):
            self._background = asyncio.get_running_loop().create_task(self._list_again())
        return known

    async def probe(self, target: Target, timeout: float) -> list[Family]:
        """Return a guest's metrics. Raises ProbeError; the guest has `timeout` seconds for all of it."""
        began = time.monotonic()
        try:
            async with timeouts.timeout(timeout), target.lock:
                families = await self._ask_metrics(target, began, timeout)
        except (asyncio.TimeoutError, PhoenixError, OSError) as error:
            self.probes["failure"] += 1
            text = str(error) or f"no answer in {timeout:g} seconds"
            target.state = _failed(target.state, error, time.monotonic() - began)
            raise ProbeError(text) from None
        self.probes["success"] += 1
        return families

    async def refresh(self, timeout: float) -> Iterable[Target]:
        """Ask each guest for its state that was not asked in the last STATE_AGE seconds; return all.

        What is not known after `timeout` seconds stays as it was.
        """
        targets = (await self.targets()).values()
        with suppress(asyncio.TimeoutError):
            async with timeouts.timeout(timeout), self._refreshing:
                await self._ask_states(targets)
        return targets

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._listed > _INVENTORY_AGE

    async def _list_again(self) -> None:
        await self.targets()

    def _list(self) -> list[KnownGuest]:
        if self._words:
            return select_guests(self._words)
        return [*(known_guests() if self._options.direct else _hub_guests()), *remote_guests()]

    async def _ask_metrics(self, target: Target, began: float, timeout: float) -> list[Family]:
        async with self._connect(target.guest, timeout) as guest:
            metrics = await guest.metrics()
            version = await guest.ping()
            now = time.monotonic()
            thaws_at = await _thaws_at(guest) if metrics.frozen else None
        families, omitted = limited(node_families(metrics), self._series_max)
        target.state = State(
            time=now,
            state=ANSWERS,
            duration=now - began,
            dialect=PHOENIX,
            version=version,
            # A frozen guest does not read os-release.
            system=metrics.os.get("pretty_name") or target.state.system,
            os=_os_id(metrics.os.get("id", "")) or target.state.os,
            frozen=metrics.frozen,
            thaws_at=thaws_at,
            omitted=omitted,
        )
        return families

    def _connect(self, guest: KnownGuest, timeout: float) -> Any:
        return connect(
            guest,
            timeout=timeout,
            connect_timeout=timeout,
            line_limit=_ANSWER_MAX,
            allow_tcp=self._options.allow_tcp,
            direct=self._options.direct,
        )

    async def _ask_states(self, targets: Iterable[Target]) -> None:
        due = [each for each in targets if time.monotonic() - each.state.time > STATE_AGE or not each.state.time]
        if not due:
            return
        held = await asyncio.get_running_loop().run_in_executor(None, held_paths)
        slots = asyncio.Semaphore(_PARALLEL)

        async def ask(target: Target) -> None:
            async with slots:
                # Somebody else's request is as good.
                if not target.lock.locked():
                    async with target.lock:
                        await self._ask_state(target, held)

        tasks = [asyncio.ensure_future(ask(target)) for target in due]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_state(self, target: Target, held: frozenset[str]) -> None:
        began = time.monotonic()
        found = await probe(target.guest, _STATE_TIMEOUT, held)
        now = time.monotonic()
        thaws_at = None
        if found.frozen and found.dialect == PHOENIX:
            with suppress(PhoenixError, OSError):
                async with self._connect(target.guest, _STATE_TIMEOUT) as guest:
                    thaws_at = await _thaws_at(guest)
        target.state = State(
            time=now,
            state=found.state,
            duration=now - began,
            dialect=found.dialect or target.state.dialect,
            version=found.version or target.state.version,
            system=found.system or target.state.system,
            os=_os_id(found.os_id) or target.state.os,
            frozen=found.frozen,
            thaws_at=thaws_at,
            omitted=target.state.omitted,
        )


def _hub_guests() -> list[KnownGuest]:
    """Return the guests that a hub offers; without a hub, those of this host.

    A hub knows guests that a user other than root does not find, and whether this user may use them.
    """
    try:
        return [KnownGuest(each["name"], each["endpoint"], each["source"]) for each in ask_hub("list")]
    except (ConnectError, CommandError):
        return known_guests()


async def _thaws_at(guest: Guest) -> float | None:
    try:
        remaining = (await guest.filesystems.status()).remaining
    except CommandError:
        return None
    return None if remaining is None else time.monotonic() + remaining


def _failed(before: State, error: Exception, duration: float) -> State:
    if isinstance(error, CommandError):
        # It answers, but has no such command, or refuses it.
        return State(
            time=time.monotonic(),
            state=ANSWERS,
            duration=duration,
            dialect=before.dialect or QEMU_GA,
            version=before.version,
            system=before.system,
            os=before.os,
        )
    silent = isinstance(error, (asyncio.TimeoutError, GuestTimeoutError))
    state = SILENT if silent else GONE if isinstance(error, ConnectError) else NOT_AN_AGENT
    return State(
        time=time.monotonic(),
        state=state,
        duration=duration,
        dialect=before.dialect,
        version=before.version,
        system=before.system,
        os=before.os,
    )


def _os_id(text: str) -> str:
    return text if _OS_ID.fullmatch(text) else ""
