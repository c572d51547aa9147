"""Whole files by streams, against qemu-ga at its best and against the port itself."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import frames, pieces
from bench.goals import FRAMES, PHOENIX, QEMU, RAW, RAW_FILE, RAW_VECTORS, UNVERIFIED
from bench.guest import DIRECTORY, BenchGuest
from bench.measures import Measure, alternate
from bench.settings import KIBI, MEGA, Settings
from phoenix_ga.client import connect
from tests.ends.client import LineClient, PortError

_DEFAULT_PIECE = 1024
# What the kernel's driver takes at once: in the guest's reads, and in its writes.
_READ_ELEMENT = 4 * KIBI
_WRITE_ELEMENT = 32 * KIBI
_TARGET = f"{DIRECTORY}/put"


def measure_bulk(guest: BenchGuest, settings: Settings, measured: Sequence[Measure]) -> list[Measure]:
    """Throughput of a file in each direction. `measured` tells which piece size is qemu-ga's best."""
    size = len(guest.bulk.data)
    note = (
        f"{size} bytes; files are in memory of the guest; the raw port and the simple client, which both verify "
        f"nothing: {frames.PIECE >> 10} KiB at a time"
    )
    read_piece, write_piece = (best_piece(measured, kind) for kind in ("read", "write"))
    with guest.qemu() as qemu, guest.raw() as raw, tempfile.TemporaryDirectory() as name:
        local = Path(name) / "local"
        getters: dict[str, Callable[[], float]] = {
            PHOENIX: lambda: asyncio.run(_get(guest, local, verify=True)),
            QEMU: lambda: pieces.read(qemu, guest.bulk.path, guest.bulk.data, read_piece * KIBI),
            UNVERIFIED: lambda: asyncio.run(_get(guest, local, verify=False)),
            RAW: lambda: _raw_get(guest, raw, "write", frames.PIECE),
            FRAMES: lambda: _frames_get(guest),
            RAW_FILE: lambda: _raw_get(guest, raw, "write-file", frames.PIECE),
            RAW_VECTORS: lambda: _raw_get(guest, raw, "writev", _WRITE_ELEMENT),
        }
        gets = alternate(settings.rounds, getters)
        local.write_bytes(guest.bulk.data)
        putters: dict[str, Callable[[], float]] = {
            PHOENIX: lambda: asyncio.run(_put(guest, local, verify=True)),
            QEMU: lambda: pieces.write(guest, qemu, guest.bulk.data, write_piece * KIBI),
            UNVERIFIED: lambda: asyncio.run(_put(guest, local, verify=False)),
            RAW: lambda: _raw_put(guest, raw, "read", frames.PIECE),
            FRAMES: lambda: _frames_put(guest),
            RAW_FILE: lambda: _raw_put(guest, raw, "read-file", frames.PIECE),
            RAW_VECTORS: lambda: _raw_put(guest, raw, "readv", _READ_ELEMENT),
        }
        puts = alternate(settings.rounds, putters)
    return [
        Measure("get", "copy from the guest", "MB/s", gets, f"{note}; qemu-ga: {read_piece} KiB at a time"),
        Measure("put", "copy to the guest", "MB/s", puts, f"{note}; qemu-ga: {write_piece} KiB at a time"),
    ]


def best_piece(measured: Sequence[Measure], kind: str) -> int:
    """The piece size, in KiB, at which qemu-ga was fastest; kind: `read` or `write`."""
    sizes = {int(each.key[len(kind) + 1 :]): each for each in measured if each.key.startswith(f"{kind}-")}
    return max(sizes, key=lambda size: sizes[size].median(QEMU), default=_DEFAULT_PIECE)


async def _get(guest: BenchGuest, local: Path, verify: bool) -> float:
    async with connect(f"unix:{guest.phoenix_path}") as client:
        begin = time.perf_counter()
        await client.get(guest.bulk.path, local, verify=verify)
        seconds = time.perf_counter() - begin
    if local.read_bytes() != guest.bulk.data:
        raise PortError("the file that came is not the one in the guest")
    guest.traffic[PHOENIX].size += len(guest.bulk.data)
    return len(guest.bulk.data) / seconds / MEGA


async def _put(guest: BenchGuest, local: Path, verify: bool) -> float:
    async with connect(f"unix:{guest.phoenix_path}") as client:
        begin = time.perf_counter()
        await client.put(local, _TARGET, verify=verify)
        seconds = time.perf_counter() - begin
    guest.check(_TARGET, guest.bulk.data)
    guest.traffic[PHOENIX].size += len(guest.bulk.data)
    return len(guest.bulk.data) / seconds / MEGA


def _frames_get(guest: BenchGuest) -> float:
    received = memoryview(bytearray(len(guest.bulk.data)))
    with guest.phoenix() as agent:
        begin = time.perf_counter()
        frames.get(agent, guest.bulk.path, received)
        seconds = time.perf_counter() - begin
    if received != guest.bulk.data:
        raise PortError("what came is not what is in the guest")
    return len(received) / seconds / MEGA


def _frames_put(guest: BenchGuest) -> float:
    with guest.phoenix() as agent:
        begin = time.perf_counter()
        frames.put(agent, _TARGET, guest.bulk.data)
        seconds = time.perf_counter() - begin
    guest.check(_TARGET, guest.bulk.data)
    return len(guest.bulk.data) / seconds / MEGA


def _raw_get(guest: BenchGuest, raw: LineClient, command: str, piece: int) -> float:
    received = memoryview(bytearray(len(guest.bulk.data)))
    begin = time.perf_counter()
    raw.send(f"{command} {piece}\n".encode())
    for start in range(0, len(received), frames.PIECE):
        raw.fill(received[start : start + frames.PIECE])
    seconds = time.perf_counter() - begin
    if received != guest.bulk.data:
        raise PortError("what came is not what was written to the raw port")
    return len(received) / seconds / MEGA


def _raw_put(guest: BenchGuest, raw: LineClient, command: str, piece: int) -> float:
    view = memoryview(guest.bulk.data)
    begin = time.perf_counter()
    raw.send(f"{command} {piece}\n".encode())
    # What comes with the command in one read would be lost.
    if raw.line() != b"go\n":
        raise PortError("the raw port does not answer")
    for start in range(0, len(view), frames.PIECE):
        raw.send(view[start : start + frames.PIECE])
    raw.line()
    seconds = time.perf_counter() - begin
    raw.send(b"digest\n")
    if raw.line().decode().strip() != guest.bulk.digest:
        raise PortError("what was read from the raw port is not what was sent")
    return len(view) / seconds / MEGA
