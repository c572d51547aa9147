"""Whole files by streams, against qemu-ga in its fastest pieces and against the bare port."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import frames, pieces
from bench.goals import FRAMES, LEANEST, PHOENIX, QEMU, RAW, RAW_FILE, RAW_VECTORS, UNVERIFIED
from bench.guest import DIRECTORIES, BenchGuest
from bench.measures import Measure, alternate
from bench.port import Agent, Header, Port, PortError
from bench.settings import KIBI, MEGA, Settings
from phoenix_ga.agent.endpoints.endpoint import FRAME_SIZE
from phoenix_ga.client import connect
from phoenix_ga.wire.frames import DATA, HEADER_SIZE, encode_header

_DEFAULT_PIECE = 1024
# The most that the guest's virtio-serial driver moves at once, in a read and in a write.
_READ_ELEMENT = 4 * KIBI
_WRITE_ELEMENT = 32 * KIBI


def measure_bulk(guest: BenchGuest, settings: Settings, measured: Sequence[Measure]) -> list[Measure]:
    """Measure the throughput of a file in each direction, by filesystem.

    Args:
        guest: The guest.
        settings: How much to measure.
        measured: The measures so far, which say at which size of pieces qemu-ga is fastest.
    """
    measures = []
    for filesystem in DIRECTORIES:
        with guest.qemu() as qemu, guest.raw(filesystem) as raw, tempfile.TemporaryDirectory() as name:
            local = Path(name) / "local"
            measures += [
                _measure_gets(
                    guest, settings, filesystem, qemu, raw, local, best_piece(measured, "read", filesystem)
                ),
                _measure_puts(
                    guest, settings, filesystem, qemu, raw, local, best_piece(measured, "write", filesystem)
                ),
            ]
    return measures


def best_piece(measured: Sequence[Measure], kind: str, filesystem: str) -> int:
    """Return the size of pieces, in KiB, with which qemu-ga is fastest. kind: `read` or `write`."""
    sizes = {}
    for measure in measured:
        parts = measure.key.split("-")
        if len(parts) == 3 and (parts[0], parts[2]) == (kind, filesystem):
            sizes[int(parts[1])] = measure
    return max(sizes, key=lambda size: sizes[size].median(QEMU), default=_DEFAULT_PIECE)


def _measure_gets(
    guest: BenchGuest, settings: Settings, filesystem: str, qemu: Agent, raw: Port, local: Path, piece: int
) -> Measure:
    bulk = guest.files.bulk
    path = bulk.path(filesystem)
    peers: dict[str, Callable[[], float]] = {
        PHOENIX: lambda: asyncio.run(_get(guest, path, local, verify=True)),
        QEMU: lambda: pieces.read(qemu, path, bulk.data, piece * KIBI),
        UNVERIFIED: lambda: asyncio.run(_get(guest, path, local, verify=False)),
        RAW: lambda: _raw_get(guest, raw, "write", frames.PIECE),
        FRAMES: lambda: _with_agent(guest, lambda agent: frames.timed_get(agent, bulk, filesystem)),
        RAW_FILE: lambda: _raw_get(guest, raw, "write-file", frames.PIECE),
        RAW_VECTORS: lambda: _raw_get(guest, raw, "writev", _WRITE_ELEMENT),
        LEANEST: lambda: _leanest_get(guest, raw),
    }
    rounds = alternate(settings.rounds, peers)
    return Measure(f"get-{filesystem}", f"copy from the guest's {filesystem}", "MB/s", rounds, _note(guest, piece))


def _measure_puts(
    guest: BenchGuest, settings: Settings, filesystem: str, qemu: Agent, raw: Port, local: Path, piece: int
) -> Measure:
    bulk = guest.files.bulk
    target = f"{DIRECTORIES[filesystem]}/put"
    local.write_bytes(bulk.data)
    peers: dict[str, Callable[[], float]] = {
        PHOENIX: lambda: asyncio.run(_put(guest, local, target, verify=True)),
        QEMU: lambda: pieces.write(guest.files, qemu, filesystem, bulk.data, piece * KIBI),
        UNVERIFIED: lambda: asyncio.run(_put(guest, local, target, verify=False)),
        RAW: lambda: _raw_put(guest, raw, "read", frames.PIECE),
        FRAMES: lambda: _with_agent(guest, lambda agent: frames.timed_put(agent, guest.files, filesystem)),
        RAW_FILE: lambda: _raw_put(guest, raw, "read-file", frames.PIECE),
        RAW_VECTORS: lambda: _raw_put(guest, raw, "readv", _READ_ELEMENT),
        LEANEST: lambda: _raw_put(guest, raw, "read-frames", frames.PIECE, framed=True),
    }
    rounds = alternate(settings.rounds, peers)
    return Measure(f"put-{filesystem}", f"copy to the guest's {filesystem}", "MB/s", rounds, _note(guest, piece))


def _note(guest: BenchGuest, piece: int) -> str:
    return (
        f"{len(guest.files.bulk.data)} bytes; qemu-ga: {piece} KiB at a time; the raw port and the simple client: "
        f"{frames.PIECE >> 10} KiB at a time, not verified"
    )


def _with_agent(guest: BenchGuest, run: Callable[[Agent], float]) -> float:
    with guest.phoenix() as agent:
        return run(agent)


async def _get(guest: BenchGuest, path: str, local: Path, verify: bool) -> float:
    data = guest.files.bulk.data
    async with connect(f"unix:{guest.phoenix_path}") as client:
        begin = time.perf_counter()
        await client.get(path, local, verify=verify)
        seconds = time.perf_counter() - begin
    if local.read_bytes() != data:
        raise PortError("the local copy differs from the file in the guest")
    guest.traffic[PHOENIX].size += len(data)
    return len(data) / seconds / MEGA


async def _put(guest: BenchGuest, local: Path, target: str, verify: bool) -> float:
    data = guest.files.bulk.data
    async with connect(f"unix:{guest.phoenix_path}") as client:
        begin = time.perf_counter()
        await client.put(local, target, verify=verify)
        seconds = time.perf_counter() - begin
    guest.files.check(target, data)
    guest.traffic[PHOENIX].size += len(data)
    return len(data) / seconds / MEGA


def _raw_get(guest: BenchGuest, raw: Port, command: str, piece: int) -> float:
    data = guest.files.bulk.data
    received = memoryview(bytearray(len(data)))
    begin = time.perf_counter()
    raw.send(f"{command} {piece}\n".encode())
    for start in range(0, len(received), frames.PIECE):
        raw.fill(received[start : start + frames.PIECE])
    seconds = time.perf_counter() - begin
    if received != data:
        raise PortError("the bytes that arrived are not those that raw_port.py wrote")
    return len(received) / seconds / MEGA


def _leanest_get(guest: BenchGuest, raw: Port) -> float:
    data = guest.files.bulk.data
    received = memoryview(bytearray(len(data)))
    begin = time.perf_counter()
    raw.send(f"write-frames {HEADER_SIZE + FRAME_SIZE}\n".encode())
    size = 0
    while size < len(received):
        header = raw.unit()
        if not isinstance(header, Header):
            raise PortError(f"raw_port.py sent {header[:80]!r} in place of a frame")
        raw.fill(received[size : size + header.length])
        size += header.length
    seconds = time.perf_counter() - begin
    if received != data:
        raise PortError("the bytes that arrived are not those of the file in the guest")
    return len(received) / seconds / MEGA


def _raw_put(guest: BenchGuest, raw: Port, command: str, piece: int, framed: bool = False) -> float:
    """Send the payload to raw_port.py. framed: in frames, as the simple client does."""
    view = memoryview(guest.files.bulk.data)
    begin = time.perf_counter()
    raw.send(f"{command} {piece}\n".encode())
    # raw_port.py would lose data that arrived in one read with the command.
    if raw.line() != b"go":
        raise PortError("raw_port.py does not answer")
    for start in range(0, len(view), frames.PIECE):
        part = view[start : start + frames.PIECE]
        raw.send(b"".join((encode_header(DATA, 1, len(part)), part)) if framed else part)
    raw.line()
    seconds = time.perf_counter() - begin
    raw.send(b"digest\n")
    if raw.line().decode() != guest.files.bulk.digest:
        raise PortError("raw_port.py did not receive the bytes that were sent")
    return len(view) / seconds / MEGA
