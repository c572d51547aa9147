"""The processes of a simulated fleet: mock guests, a hub, an exporter, and what they take of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.checkouts import ROOT

_HUB_TIMEOUT = 120.0


@dataclass(frozen=True)
class Usage:
    """What a process took.

    Attributes:
        cpu: Seconds of CPU time since it started.
        memory: Resident memory, in bytes.
    """

    cpu: float
    memory: int


def usage(pid: int) -> Usage:
    """Return what a process took (proc(5))."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    resident = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert resident is not None, pid
    return Usage(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), int(resident[1]) * 1024)


@contextlib.contextmanager
def mock_guests(directory: Path, kinds: Mapping[str, str]) -> Iterator[None]:
    """Run a mock guest of a kind by each name, and write their inventory for the other processes."""
    config = directory / "phoenix" / "config.toml"
    config.parent.mkdir()
    lines = [f'"{name}" = "unix:{directory}/{name}.sock"' for name in kinds]
    config.write_text("\n".join(["sources = []", "[guests]", *lines, ""]))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fleet.mock_guests", str(directory)],
        cwd=ROOT,
        env=_environment(directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with _stopped_at_end(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(list(kinds.items())) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the mock guests did not start")
        yield


@contextlib.contextmanager
def hub(directory: Path) -> Iterator[int]:
    """Run a hub in front of the guests of the inventory; yield its process id."""
    (directory / "hub.toml").write_text("")
    words = ["--config", str(directory / "hub.toml"), "--directory", str(directory / "hub")]
    with (directory / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "phoenix_ga.hub", *words], env=_environment(directory), stderr=log
        )
    with _stopped_at_end(process):
        deadline = time.monotonic() + _HUB_TIMEOUT
        while not (directory / "hub" / "hub.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the hub did not start: {(directory / 'hub.log').read_text()}")
            time.sleep(0.05)
        yield process.pid


@contextlib.contextmanager
def exporter(directory: Path) -> Iterator[tuple[int, int]]:
    """Run an exporter of the guests of the inventory; yield its process id and its port."""
    words = ["exporter", "--web.listen-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "phoenix_ga.cli", *words],
        env=_environment(directory),
        stderr=subprocess.PIPE,
        text=True,
    )
    with _stopped_at_end(process):
        assert process.stderr is not None
        line = process.stderr.readline()
        serving = re.search(r"serving http://127\.0\.0\.1:(\d+)/", line)
        if serving is None:
            raise RuntimeError(f"the exporter did not start: {line}")
        yield process.pid, int(serving[1])


def _environment(directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "XDG_CONFIG_HOME": str(directory),
        "PHOENIX_HUB_DIRECTORY": str(directory / "hub"),
    }


@contextlib.contextmanager
def _stopped_at_end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
