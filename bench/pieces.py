"""Files as both agents have always done it: base64 in JSON, a piece at a time."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

from bench.agents import QEMU_DIALECT, Agent
from bench.goals import PHOENIX, PHOENIX_AS_QEMU, QEMU
from bench.guest import DIRECTORY, BenchGuest
from bench.measures import Measure, alternate
from bench.settings import KIBI, MEGA, Settings
from tests.ends.client import PortError

#: In KiB. The first is what qemu-ga's users take; a line of JSON can hold the last with both agents.
PIECE_SIZES = (48, 256, 1024, 4096)


def measure_pieces(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Throughput of reading and writing a file, by the size of the pieces."""
    measures = []
    agents = guest.agents()
    with agents[PHOENIX], agents[QEMU]:
        agents[PHOENIX_AS_QEMU] = agents[PHOENIX].speaking(QEMU_DIALECT)
        for kibis in PIECE_SIZES:
            piece = kibis * KIBI
            # No piece is larger than the file.
            if piece > settings.pieces_size:
                continue
            note = f"{settings.pieces_size} bytes, in memory of the guest; one request at a time by a blocking client"
            readers = {name: _reader(guest, agent, piece) for name, agent in agents.items()}
            title = f"read a file in pieces of {kibis} KiB"
            measures.append(Measure(f"read-{kibis}", title, "MB/s", alternate(settings.rounds, readers), note))
            writers = {name: _writer(guest, agent, piece) for name, agent in agents.items()}
            title = f"write a file in pieces of {kibis} KiB"
            measures.append(Measure(f"write-{kibis}", title, "MB/s", alternate(settings.rounds, writers), note))
    return measures


def read(agent: Agent, path: str, expected: bytes, piece: int) -> float:
    """Read a file in pieces of so many bytes; return the throughput in MB/s."""
    handle = agent.open(path, "r")
    begin = time.perf_counter()
    answers = agent.read_all(handle, piece)
    seconds = time.perf_counter() - begin
    data = b"".join(map(agent.data, answers))
    if data != expected:
        raise PortError(f"{path} is not what was read")
    return len(data) / seconds / MEGA


def write(guest: BenchGuest, agent: Agent, data: bytes, piece: int) -> float:
    """Write a file in pieces of so many bytes; return the throughput in MB/s."""
    path = f"{DIRECTORY}/written"
    handle = agent.open(path, "w")
    # What the client needs for base64, and for JSON above, is not what is measured.
    pieces = [base64.b64encode(data[start : start + piece]).decode() for start in range(0, len(data), piece)]
    begin = time.perf_counter()
    agent.write_all(handle, pieces)
    seconds = time.perf_counter() - begin
    guest.check(path, data)
    return len(data) / seconds / MEGA


def _reader(guest: BenchGuest, agent: Agent, piece: int) -> Callable[[], float]:
    return lambda: read(agent, guest.pieces.path, guest.pieces.data, piece)


def _writer(guest: BenchGuest, agent: Agent, piece: int) -> Callable[[], float]:
    return lambda: write(guest, agent, guest.pieces.data, piece)
