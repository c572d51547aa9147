"""How the time to copy a file from the guest grows with its size."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.goals import LARGEST, PART_OF_LARGEST, PHOENIX
from bench.guest import DIRECTORIES, EXT4, BenchGuest
from bench.measures import Measure, alternate
from bench.port import PortError
from bench.settings import KIBI, MEBI, Settings
from phoenix_ga.client import connect

_SMALL: Final = (KIBI, 64 * KIBI, MEBI)
_PART: Final = 16
_NANO: Final = 1_000_000_000


def measure_sizes(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the time of a verified copy from ext4 by size, and for each byte of large files."""
    large = settings.largest_size
    sizes = sorted({size for size in _SMALL if size < large // _PART} | {large // _PART, large})
    path = f"{DIRECTORIES[EXT4]}/sized"
    for size in sizes:
        guest.machine.run(f"head -c {size} /dev/urandom > {path}-{size}", timeout=600)
    guest.machine.run("sync", timeout=600)

    def copying(size: int) -> Callable[[], float]:
        return lambda: asyncio.run(_get(guest, f"{path}-{size}", size))

    try:
        rounds = alternate(max(settings.rounds // 2, 1), {str(size): copying(size) for size in sizes})
    finally:
        guest.machine.run(f"rm -f {path}-*", timeout=600)
    note = "verified; a connection of its own for each copy, which is not counted"
    measures = [
        Measure(
            f"size-{size}",
            f"copy a file of {_text(size)} from the guest's ext4",
            "ms",
            {PHOENIX: [seconds * 1000 for seconds in rounds[str(size)]]},
            note,
        )
        for size in sizes
    ]
    by_byte = {
        name: [seconds * _NANO / size for seconds in rounds[str(size)]]
        for name, size in ((LARGEST, large), (PART_OF_LARGEST, large // _PART))
    }
    text = f"a file of {_text(large)} and one of {_text(large // _PART)}; the page cache has no room for the larger"
    return [*measures, Measure("size-growth", "time for each byte of a copy from ext4", "ns", by_byte, text)]


async def _get(guest: BenchGuest, path: str, size: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        async with connect(f"unix:{guest.phoenix_path}") as client:
            begin = time.perf_counter()
            copied = await client.get(path, Path(name) / "copy")
            seconds = time.perf_counter() - begin
    if copied.size != size or not copied.verified:
        raise PortError(f"{path} was copied as {copied}")
    guest.traffic[PHOENIX].size += size
    return seconds


def _text(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < KIBI or size % KIBI:
            return f"{size} {unit}"
        size //= KIBI
    return f"{size} GiB"
