"""The agent as PID 1 of a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.client import connect_sync
from tests.ends.client import LineClient
from tests.process_tree import children
from tests.support import SOURCE, wait_for

pytestmark = [pytest.mark.root, pytest.mark.programs("unshare")]


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def container(tmp_path: Path, socket: Path) -> Iterator[int]:
    """The process ID of an agent that is PID 1 of a namespace."""
    agent = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{socket}", "-c", "/dev/null"]
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *agent, "--run-directory", tmp_path / "run"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stderr=subprocess.DEVNULL,
    )
    try:
        with LineClient.reach(socket) as client:
            client.call("ping")
        (pid,) = children(process.pid)
        yield pid
    finally:
        process.kill()
        process.wait()


def zombies(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        found += [child] if state == "Z" else []
    return found


def test_orphans_are_reaped(container: int, socket: Path) -> None:
    with connect_sync(f"unix:{socket}") as guest:
        for _ in range(3):
            # The shell ends at once, and leaves its child to PID 1.
            assert guest.run(["sh", "-c", "sh -c 'sleep 0.1' > /dev/null 2>&1 & true"]).returncode == 0
        assert guest.run(["sh", "-c", "exit 3"]).returncode == 3
        wait_for(lambda: len(children(container)) == 1)
    assert zombies(container) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(container: int, number: int) -> None:
    os.kill(container, number)
    wait_for(lambda: not Path(f"/proc/{container}").exists())


def test_it_ends_with_the_agent(container: int) -> None:
    (agent,) = children(container)
    os.kill(agent, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{container}").exists())
