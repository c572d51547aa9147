"""What `top` shows of a guest: rates and shares, from two readings of the kernel's counters.

Whatever a guest says, all figures are in ranges that fit the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from phoenix_ga.client import Counters, Metrics, ProcessList, SystemProcess

_SECTOR: Final = 512
# The same bytes are counted for the disk below: partitions, device-mapper, RAID, loop and RAM devices.
_NO_DISK: Final = re.compile(r"(z?ram|loop|fd|dm-|md|(h|s|v|xv)d[a-z]+|(nvme\d+n|mmcblk)\d+p)\d+")
_IDLE: Final = ("idle", "iowait")
MODES: Final = ("user", "nice", "system", "iowait", "irq", "softirq", "steal")
RESOURCES: Final = ("cpu", "io", "memory")
_RATE_MAX: Final = float(2**63)
_SECONDS_MAX: Final = 100 * 365 * 86400


@dataclass(frozen=True)
class Figures:
    """The state of a guest. What needs two readings is None after the first.

    Attributes:
        cpu: share of all CPUs that was busy, in percent.
        modes: the same for each mode of proc(5).
        memory: share that is not available, in percent.
        memory_total, swap_total, swap_used: in bytes.
        pressure: share of the last 10 seconds in which some task waited, in percent, by resource; empty without PSI.
        disk_read, disk_written, received, sent: bytes per second, of disks and of the network hardware.
        load: averages of 1, 5 and 15 minutes.
        uptime: in seconds.
    """

    cpus: int
    cpu: float | None
    modes: dict[str, float]
    memory: float | None
    memory_total: int
    swap_total: int
    swap_used: int
    pressure: dict[str, float]
    disk_read: float | None
    disk_written: float | None
    received: float | None
    sent: float | None
    load: tuple[float, float, float]
    frozen: bool
    uptime: int
    kernel: str
    os: str


@dataclass(frozen=True)
class ProcessFigures:
    """A process.

    cpu: share of one CPU that it has used since the last reading, in percent.
    seconds: CPU time since it started.
    """

    process: SystemProcess
    cpu: float
    seconds: int


def figures(before: Metrics | None, after: Metrics, seconds: float) -> Figures:
    """Return the figures of a guest.

    Args:
        before: The reading to compare with.
        after: The last reading.
        seconds: The time between them, by the host's clock.
    """
    busy, modes = _processors(before, after)
    memory = after.memory
    total, swap = memory.get("MemTotal", 0), memory.get("SwapTotal", 0)
    rates: list[float | None] = [None] * 4
    if before is not None and seconds > 0:
        rates = [
            _rate(_sum(_disks(before), "sectors_read"), _sum(_disks(after), "sectors_read"), seconds, _SECTOR),
            _rate(_sum(_disks(before), "sectors_written"), _sum(_disks(after), "sectors_written"), seconds, _SECTOR),
            _rate(_sum(_interfaces(before), "rx_bytes"), _sum(_interfaces(after), "rx_bytes"), seconds),
            _rate(_sum(_interfaces(before), "tx_bytes"), _sum(_interfaces(after), "tx_bytes"), seconds),
        ]
    load = after.load_average
    return Figures(
        cpus=len(after.cpus),
        cpu=busy,
        modes=modes,
        memory=_percent(total - memory.get("MemAvailable", memory.get("MemFree", 0)), total),
        memory_total=_bounded(total),
        swap_total=_bounded(swap),
        swap_used=_bounded(swap - memory.get("SwapFree", 0)),
        pressure={
            resource: min(max(after.pressure[resource].get("some", {}).get("avg10", 0.0), 0.0), 100.0)
            for resource in RESOURCES
            if resource in after.pressure
        },
        disk_read=rates[0],
        disk_written=rates[1],
        received=rates[2],
        sent=rates[3],
        load=(_load(load.one_minute), _load(load.five_minutes), _load(load.fifteen_minutes)),
        frozen=after.frozen,
        uptime=int(min(max(after.time - after.boot_time, 0), _SECONDS_MAX)),
        kernel=f"{after.kernel.system} {after.kernel.release}",
        os=after.os.get("pretty_name", ""),
    )


def process_figures(before: ProcessList | None, after: ProcessList, seconds: float) -> list[ProcessFigures]:
    """Return the processes of a guest, with their shares of one CPU."""
    earlier = {(each.pid, each.started): each.cpu_ticks for each in before.processes} if before is not None else {}
    scale = 100 / (after.ticks_per_second * seconds) if after.ticks_per_second > 0 and seconds > 0 else 0.0
    found = []
    for each in after.processes:
        # A process that is new has used all its time since.
        ticks = each.cpu_ticks - earlier.get((each.pid, each.started), 0) if before is not None else 0
        seconds_used = (
            min(max(each.cpu_ticks, 0) // after.ticks_per_second, _SECONDS_MAX) if after.ticks_per_second > 0 else 0
        )
        found.append(ProcessFigures(each, min(max(ticks * scale, 0.0), 9999.0), seconds_used))
    return found


def _processors(before: Metrics | None, after: Metrics) -> tuple[float | None, dict[str, float]]:
    """Return the share of time in which CPUs were busy, and in each mode. CPUs come and go."""
    earlier = {cpu.get("cpu", 0): cpu for cpu in before.cpus} if before is not None else {}
    spent = dict.fromkeys((*MODES, "idle"), 0)
    for cpu in after.cpus:
        known = earlier.get(cpu.get("cpu", 0))
        if known is not None:
            for mode in spent:
                spent[mode] += max(cpu.get(mode, 0) - known.get(mode, 0), 0)
    whole = sum(spent.values())
    busy = _percent(sum(ticks for mode, ticks in spent.items() if mode not in _IDLE), whole)
    return busy, {mode: 100 * spent[mode] / whole for mode in MODES if whole}


def _disks(metrics: Metrics) -> dict[str, Mapping[str, int]]:
    return {disk.name: disk.counts for disk in metrics.disks if not _NO_DISK.fullmatch(disk.name)}


def _interfaces(metrics: Metrics) -> dict[str, Mapping[str, int]]:
    """Return the interfaces that are hardware: the others pass the same bytes on. All but `lo` if none is."""
    hardware = [each for each in metrics.interfaces if each.counts.get("hardware")]
    chosen: Iterable[Counters] = hardware or (each for each in metrics.interfaces if each.name != "lo")
    return {each.name: each.counts for each in chosen}


def _sum(counters: Mapping[str, Mapping[str, int]], name: str) -> dict[str, int]:
    return {key: counts.get(name, 0) for key, counts in counters.items()}


def _rate(before: Mapping[str, int], after: Mapping[str, int], seconds: float, unit: int = 1) -> float:
    """Return how much was added per second. A device that is new counts from the next reading on."""
    added = sum(max(count - before[name], 0) for name, count in after.items() if name in before)
    return min(added * unit / seconds, _RATE_MAX)


def _percent(part: int, whole: int) -> float | None:
    return min(max(100 * part / whole, 0.0), 100.0) if whole > 0 else None


def _bounded(count: int) -> int:
    return min(max(count, 0), 2**63)


def _load(value: float) -> float:
    return min(max(value, 0.0), 99_999.0)
