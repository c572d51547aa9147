"""Files in base64 over JSON, one piece a request: the only way that qemu-ga has."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

from bench.goals import PHOENIX, PHOENIX_AS_QEMU, QEMU
from bench.guest import DIRECTORIES, BenchGuest, GuestFiles
from bench.measures import Measure, alternate
from bench.port import QEMU_DIALECT, Agent, PortError, encode, returned
from bench.settings import KIBI, MEGA, Settings

#: In KiB. The first is what most users of qemu-ga choose; the last is the largest that both agents can answer.
PIECE_SIZES = (48, 256, 1024, 4096)
# A read's answer says within this many bytes of its end whether the file ended.
_EOF_TAIL = 64


def measure_pieces(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the throughput of reads and writes, by size of the pieces and by filesystem."""
    measures = []
    note = f"{settings.pieces_size} bytes, one request at a time by a blocking client; the file is in the page cache"
    agents = guest.agents()
    with agents[PHOENIX], agents[QEMU]:
        agents[PHOENIX_AS_QEMU] = agents[PHOENIX].speaking(QEMU_DIALECT)
        for kibis in PIECE_SIZES:
            if kibis * KIBI > settings.pieces_size:
                continue
            for filesystem in DIRECTORIES:
                for kind, make in (("read", reader), ("write", writer)):
                    peers = {
                        name: make(guest.files, agent, filesystem, kibis * KIBI) for name, agent in agents.items()
                    }
                    title = f"{kind} a file on {filesystem} in pieces of {kibis} KiB"
                    rounds = alternate(settings.rounds, peers)
                    measures.append(Measure(f"{kind}-{kibis}-{filesystem}", title, "MB/s", rounds, note))
    return measures


def reader(files: GuestFiles, agent: Agent, filesystem: str, piece: int) -> Callable[[], float]:
    """Return a function that reads the pieces' payload and returns the throughput in MB/s."""
    return lambda: read(agent, files.pieces.path(filesystem), files.pieces.data, piece)


def writer(files: GuestFiles, agent: Agent, filesystem: str, piece: int) -> Callable[[], float]:
    """Return a function that writes the pieces' payload and returns the throughput in MB/s."""
    return lambda: write(files, agent, filesystem, files.pieces.data, piece)


def read(agent: Agent, path: str, expected: bytes, piece: int) -> float:
    """Read a file, `piece` bytes at a time, and return the throughput in MB/s."""
    handle = agent.call(agent.dialect.open, path=path, mode="r")
    begin = time.perf_counter()
    answers = _read_all(agent, handle, piece)
    seconds = time.perf_counter() - begin
    # Decoding is the client's work, and not measured.
    results = [returned(agent.dialect.read, answer) for answer in answers]
    data = b"".join(base64.b64decode(result[agent.dialect.data]) for result in results)
    if data != expected:
        raise PortError(f"the bytes read from {path} are not those of the file")
    return len(data) / seconds / MEGA


def write(files: GuestFiles, agent: Agent, filesystem: str, data: bytes, piece: int) -> float:
    """Write a file, `piece` bytes at a time, and return the throughput in MB/s."""
    path = f"{DIRECTORIES[filesystem]}/written"
    dialect = agent.dialect
    handle = agent.call(dialect.open, path=path, mode="w")
    # Encoding is the client's work, and not measured.
    pieces = [base64.b64encode(data[start : start + piece]).decode() for start in range(0, len(data), piece)]
    begin = time.perf_counter()
    for text in pieces:
        agent.call(dialect.write, **{dialect.handle: handle, dialect.data: text})
    agent.call(dialect.close, **{dialect.handle: handle})
    seconds = time.perf_counter() - begin
    files.check(path, data)
    return len(data) / seconds / MEGA


def _read_all(agent: Agent, handle: int, piece: int) -> list[bytes]:
    """Read up to the end of the file, close the handle, and return the answers as they came."""
    dialect = agent.dialect
    request = encode(dialect.read, {dialect.handle: handle, "count": piece})
    answers = []
    while True:
        answer = agent.ask(request)
        answers.append(answer)
        if b'"eof": true' in answer[-_EOF_TAIL:] or not answer.startswith(b'{"return"'):
            break
    if not dialect.closes_at_end:
        agent.call(dialect.close, **{dialect.handle: handle})
    return answers
