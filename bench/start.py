"""Starts: of the agent up to its first answer, on this machine, and of phoenixctl with one request to a guest."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.goals import PHOENIX, PYTHON
from bench.guest import BenchGuest
from bench.measures import Measure, alternate
from bench.port import PortError
from bench.settings import Settings
from tools.build_pyz import build

_TIMEOUT = 20.0


def measure_start(settings: Settings) -> list[Measure]:
    """Start dist's single-file agent again and again, and ping it once it listens."""
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "phoenix-ga.pyz"
        build(archive)
        # Do not count the first start, which reads the file from the disk.
        times = [_start(archive, Path(name)) for _ in range(settings.starts * settings.rounds + 1)][1:]
    return [Measure("start", "start to first answer", "ms", {PHOENIX: times}, "on the host, over a Unix socket")]


def measure_phoenixctl(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure `phoenixctl ping -c 1` from its start to its end, beside an interpreter that does nothing."""
    ping = [sys.executable, "-m", "phoenix_ga.cli", "ping", "-c", "1", f"unix:{guest.phoenix_path}"]
    peers = {PHOENIX: lambda: _run(ping), PYTHON: lambda: _run([sys.executable, "-c", "pass"])}
    rounds = alternate(settings.rounds * settings.starts, peers)
    return [Measure("phoenixctl", "start, ping and end of phoenixctl", "ms", rounds, "processes on the host")]


def _run(command: list[str]) -> float:
    """Return the time from the start to the end of a process, in ms."""
    begin = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT)
    if done.returncode:
        raise PortError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')}")
    return (time.perf_counter() - begin) * 1000


def _start(archive: Path, directory: Path) -> float:
    """Return the time from the start to the answer, in ms."""
    path = directory / "agent.sock"
    command = [sys.executable, "-ISB", str(archive), "-p", f"unix:{path}", "-c", os.devnull]
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--run-directory", str(directory / "run")], stderr=subprocess.DEVNULL)
    try:
        with _connected(path, process) as connection:
            connection.sendall(b'{"execute": "ping"}\n')
            answer = connection.recv(4096)
        milliseconds = (time.perf_counter() - begin) * 1000
    finally:
        process.terminate()
        process.wait()
        path.unlink(missing_ok=True)
    if not answer.startswith(b'{"return"'):
        raise PortError(f"the agent answered {answer!r}")
    return milliseconds


def _connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            connection.close()
            time.sleep(0.0005)
    raise PortError("the agent did not start")
