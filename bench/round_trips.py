"""How long a request takes: `ping`, and a program that does nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from bench.agents import Agent
from bench.goals import PHOENIX, QEMU, RAW
from bench.guest import BenchGuest
from bench.measures import Measure, alternate
from bench.settings import MEGA, Settings
from phoenix_ga.client import connect
from tests.ends.client import LineClient, PortError


def measure_pings(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """The round trip of `ping` and `guest-ping`, and of a line that a bare program echoes."""
    agents = guest.agents()
    with guest.raw() as raw, agents[PHOENIX], agents[QEMU]:
        peers = {name: _timer(agent.ping, settings.pings) for name, agent in agents.items()}
        peers[RAW] = _timer(lambda: _echo(raw), settings.pings)
        rounds = alternate(settings.rounds * settings.ping_rounds, peers)
    note = f"median of {settings.pings} round trips a round, one after the other, by a blocking client"
    return [Measure("ping", "round trip of ping", "µs", rounds, note)]


def measure_commands(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """How long it takes to run `true`, exit status included."""
    with guest.qemu() as qemu:
        peers = {
            PHOENIX: lambda: asyncio.run(_run_true(guest, settings.commands)),
            QEMU: _timer(lambda: _exec_true(qemu), settings.commands, unit=1000),
        }
        rounds = alternate(settings.rounds, peers)
    note = (
        f"median of {settings.commands} a round; guest.run of the library, against guest-exec with guest-exec-status "
        "asked again and again without a pause by a blocking client"
    )
    return [Measure("exec", "run true", "ms", rounds, note)]


def _timer(step: Callable[[], object], count: int, unit: float = MEGA) -> Callable[[], float]:
    """What takes `step` `count` times, and returns the median time in `unit`ths of a second."""

    def measure() -> float:
        return statistics.median(_time(step) for _ in range(count)) * unit

    return measure


def _time(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _echo(raw: LineClient) -> None:
    raw.send(b"echo\n")
    raw.line()


async def _run_true(guest: BenchGuest, count: int) -> float:
    times = []
    async with connect(f"unix:{guest.phoenix_path}") as client:
        for _ in range(count):
            begin = time.perf_counter()
            await client.run(["true"], check=True)
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def _exec_true(qemu: Agent) -> None:
    pid = qemu.call("guest-exec", **{"path": "true", "capture-output": True})["pid"]
    while not (status := qemu.call("guest-exec-status", pid=pid))["exited"]:
        pass
    if status["exitcode"] != 0:
        raise PortError(f"true ended with {status}")
