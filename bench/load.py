"""The round trip of `ping` while the agent is busy."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.frames import WARM_UP, pings_beside
from bench.goals import DIGEST, FOUR_GETS, FROZEN, IDLE, ONE_GET, PHOENIX, UNVERIFIED_GET
from bench.guest import EXT4, BenchGuest
from bench.measures import Measure, alternate, percentile
from bench.settings import MEGA, Settings
from phoenix_ga.client import Guest, connect

_SHARES = (0.5, 0.99)


def measure_load(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the median and the 99th percentile of `ping`, by the simple client and by the client library."""
    get = {"execute": "file-get", "arguments": {"path": guest.files.bulk.path(EXT4)}}
    unverified = {"execute": "file-get", "arguments": {"path": guest.files.bulk.path(EXT4), "digest": False}}
    digest = {"execute": "get-file-md5sum", "arguments": {"path": guest.files.bulk.path(EXT4)}}
    count = settings.loaded_pings
    simple: dict[str, Callable[[], list[float]]] = {
        IDLE: lambda: _simple(guest, count, []),
        ONE_GET: lambda: _simple(guest, count, [get]),
        UNVERIFIED_GET: lambda: _simple(guest, count, [unverified]),
        FOUR_GETS: lambda: _simple(guest, count, [get] * 4),
        DIGEST: lambda: _simple(guest, count, [digest]),
        FROZEN: lambda: _while_frozen(guest, count),
    }
    library: dict[str, Callable[[], list[float]]] = {
        IDLE: lambda: asyncio.run(_library(guest, count, 0)),
        ONE_GET: lambda: asyncio.run(_library(guest, count, 1)),
        FOUR_GETS: lambda: asyncio.run(_library(guest, count, 4)),
    }
    note = f"{count} pings a round, one after the other, on the connection that carries the files"
    return [
        *_measure("ping", "by the library", "", library, settings.rounds, note),
        *_measure("ping", "by the simple client", "-simple", simple, settings.rounds, note),
    ]


def _measure(
    key: str, client: str, suffix: str, loads: dict[str, Callable[[], list[float]]], rounds: int, note: str
) -> Iterator[Measure]:
    """Compute both percentiles from the same pings, in µs."""
    trips: dict[str, list[list[float]]] = {load: [] for load in loads}

    def record(load: str) -> Callable[[], float]:
        def run() -> float:
            trips[load].append(loads[load]())
            return 0

        return run

    alternate(rounds, {load: record(load) for load in loads})
    for share in _SHARES:
        percent = f"p{share * 100:.0f}"
        # The first round warms up.
        figures = {load: [percentile(each, share) * MEGA for each in taken[1:]] for load, taken in trips.items()}
        yield Measure(f"{key}-{percent}{suffix}", f"{percent} of ping, {client}", "µs", figures, note)


def _simple(guest: BenchGuest, count: int, load: list[dict[str, Any]]) -> list[float]:
    with guest.phoenix() as agent:
        return pings_beside(agent, count, load)


def _while_frozen(guest: BenchGuest, count: int) -> list[float]:
    with guest.phoenix() as agent:
        agent.call("fs-freeze")
        try:
            return pings_beside(agent, count, [])
        finally:
            agent.call("fs-unfreeze")


async def _library(guest: BenchGuest, count: int, gets: int) -> list[float]:
    trips: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        async with connect(f"unix:{guest.phoenix_path}") as client:
            copies = [asyncio.create_task(_copy_for_ever(guest, client, Path(name) / str(n))) for n in range(gets)]
            await asyncio.sleep(WARM_UP)
            while len(trips) < count and not any(copy.done() for copy in copies):
                begin = time.perf_counter()
                await client.ping()
                trips.append(time.perf_counter() - begin)
                guest.traffic[PHOENIX].requests += 1
            for copy in copies:
                copy.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await copy
    return trips


async def _copy_for_ever(guest: BenchGuest, client: Guest, local: Path) -> None:
    while True:
        guest.traffic[PHOENIX].size += (await client.get(guest.files.bulk.path(EXT4), local)).size
