"""How long the agent takes from its start to its first answer, on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.goals import PHOENIX
from bench.measures import Measure
from bench.settings import Settings
from tests.ends.client import PortError
from tools.build_pyz import build

_TIMEOUT = 20.0


def measure_start(settings: Settings) -> list[Measure]:
    """Start the shipped file, and ping it as soon as it listens."""
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "phoenix-ga.pyz"
        build(archive)
        # The first start reads the file from the disk.
        times = [_start(archive, Path(name)) for _ in range(settings.starts * settings.rounds + 1)][1:]
    return [Measure("start", "start to first answer", "ms", {PHOENIX: times}, "on the host, over a Unix socket")]


def _start(archive: Path, directory: Path) -> float:
    """The time from the start to the answer, in ms."""
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
