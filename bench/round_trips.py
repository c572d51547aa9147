"""The time that a request takes: `ping`, and a program that does nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from bench.goals import PHOENIX, QEMU, RAW
from bench.guest import EXT4, BenchGuest
from bench.measures import Measure, alternate
from bench.port import Agent, Port, PortError
from bench.settings import MEGA, Settings
from phoenix_ga.client import connect


def measure_pings(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the round trip of `ping`, of `guest-ping`, and of a line that raw_port.py echoes."""
    agents = guest.agents()
    with guest.raw(EXT4) as raw, agents[PHOENIX], agents[QEMU]:
        peers = {name: timer(agent.ping, settings.pings) for name, agent in agents.items()}
        peers[RAW] = timer(lambda: _echo(raw), settings.pings)
        rounds = alternate(settings.rounds * settings.ping_rounds, peers)
    note = f"median of {settings.pings} round trips a round, one after the other, by a blocking client"
    return [Measure("ping", "round trip of ping", "µs", rounds, note)]


def measure_commands(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the time to run `true` and get its exit status."""
    with guest.qemu() as qemu:
        peers = {
            PHOENIX: lambda: asyncio.run(_run_true(guest, settings.commands)),
            QEMU: timer(lambda: _exec_true(qemu), settings.commands, unit=1000),
        }
        rounds = alternate(settings.rounds, peers)
    note = (
        f"median of {settings.commands} a round; Phoenix: run() of the client library; qemu-ga: guest-exec, then "
        "guest-exec-status without a pause until the program has ended, by a blocking client"
    )
    return [Measure("exec", "run true", "ms", rounds, note)]


def timer(step: Callable[[], object], count: int, unit: float = MEGA) -> Callable[[], float]:
    """Return a function that calls `step` `count` times and returns its median time, in 1/`unit` s."""

    def measure() -> float:
        return statistics.median(_time(step) for _ in range(count)) * unit

    return measure


def _time(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _echo(raw: Port) -> None:
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
