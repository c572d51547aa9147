"""What idle agents cost a guest: memory, wake-ups and CPU time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from bench.goals import PARKED, PHOENIX, QEMU
from bench.guest import BenchGuest, Usage
from bench.measures import Measure
from bench.settings import KIBI, MEGA, Settings

_PEERS = (PHOENIX, QEMU)
# Idle threads of earlier requests end within this time, in seconds.
_SETTLE = 3.0
_MILLISECONDS_A_TICK = 10


def usages(guest: BenchGuest) -> dict[str, Usage]:
    """Return what each agent has used so far."""
    return {peer: guest.usage(peer) for peer in _PEERS}


def measure_idle(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure wake-ups and CPU time without requests, with the host connected and not connected."""
    measures = []
    for connected in (False, True):
        with contextlib.ExitStack() as stack:
            if connected:
                for agent in guest.agents().values():
                    stack.enter_context(agent)
            time.sleep(_SETTLE)
            before = usages(guest)
            time.sleep(settings.idle_seconds)
            after = usages(guest)
        measures += _idle(before, after, connected, settings.idle_seconds)
    return measures


def measure_parked(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure what a parked agent costs, beside both awake ones, and its first answer."""
    awake = usages(guest)
    guest.let_park()
    measures = []
    for connected in (False, True):
        with contextlib.ExitStack() as stack:
            if connected:
                stack.enter_context(guest.phoenix())
            guest.wait_until_parked()
            time.sleep(_SETTLE)
            before = {PARKED: guest.usage(PHOENIX)}
            time.sleep(settings.idle_seconds)
            after = {PARKED: guest.usage(PHOENIX)}
        measures += _idle(before, after, connected, settings.idle_seconds, prefix="parked-")
    used = {**after, **awake}
    return [
        Measure("parked-rss", "resident memory, parked and awake", "MB", _megas(used, "resident")),
        Measure("parked-pss", "proportional memory, parked and awake", "MB", _megas(used, "proportional")),
        *measures,
        _measure_waking(guest, settings),
    ]


def _measure_waking(guest: BenchGuest, settings: Settings) -> Measure:
    times: dict[str, list[float]] = {PARKED: [], QEMU: []}
    for _ in range(settings.wakings):
        guest.wait_until_parked()
        for peer, connect in ((PARKED, guest.phoenix), (QEMU, guest.qemu)):
            begin = time.perf_counter()
            # Which begins with `sync`.
            with connect():
                times[peer].append((time.perf_counter() - begin) * 1000)
    return Measure("wake", "first answer after idling", "ms", times, "a client connects, and its `sync` is answered")


def _megas(used: Mapping[str, Usage], what: str) -> dict[str, list[float]]:
    return {peer: [getattr(usage, what) * KIBI / MEGA] for peer, usage in used.items()}


def _idle(
    before: Mapping[str, Usage], after: Mapping[str, Usage], connected: bool, seconds: float, prefix: str = ""
) -> list[Measure]:
    wakeups, milliseconds = {}, {}
    for peer in before:
        minutes = (after[peer].seconds - before[peer].seconds) / 60
        wakeups[peer] = [(after[peer].wakeups - before[peer].wakeups) / minutes]
        milliseconds[peer] = [(after[peer].ticks - before[peer].ticks) * _MILLISECONDS_A_TICK / minutes]
    key, title = ("open", "host connected") if connected else ("closed", "host not connected")
    note = f"all threads, over {seconds:g} s"
    return [
        Measure(f"{prefix}wakeups-{key}", f"idle wake-ups, {title}", "a minute", wakeups, note),
        Measure(
            f"{prefix}cpu-{key}", f"idle CPU time, {title}", "ms a minute", milliseconds, f"{note}; in steps of 10 ms"
        ),
    ]


def measure_memory(guest: BenchGuest, stages: Mapping[str, Mapping[str, Usage]]) -> list[Measure]:
    """Measure resident memory and its growth.

    Args:
        guest: The guest.
        stages: What both agents had used after each section, by name, in order; the first is before all.
    """
    before, after = next(iter(stages.values())), list(stages.values())[-1]
    traffic = guest.traffic[PHOENIX]
    note = f"after {traffic.size / MEGA:.0f} MB and {traffic.requests} requests over the port of Phoenix"

    def megas(used: Mapping[str, Usage]) -> dict[str, list[float]]:
        return _megas(used, "resident")

    growth = {peer: [megas(after)[peer][0] - megas(before)[peer][0]] for peer in _PEERS}
    return [
        Measure("rss", "resident memory before the run", "MB", megas(before)),
        Measure("rss-after", "resident memory after the run", "MB", megas(after), note),
        Measure("pss", "proportional memory before the run", "MB", _megas(before, "proportional")),
        Measure("pss-after", "proportional memory after the run", "MB", _megas(after, "proportional"), note),
        Measure("rss-growth", "growth of resident memory", "MB", growth, note),
        *(
            Measure(f"rss-after-{name}", f"resident memory after {name}", "MB", megas(used))
            for name, used in list(stages.items())[1:]
        ),
    ]
