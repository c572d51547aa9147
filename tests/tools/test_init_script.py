"""The init script: it starts the agent, keeps it running, passes signals on, and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import SOURCE, wait_for

pytestmark = [pytest.mark.programs("start-stop-daemon", "logger"), pytest.mark.timeout(300)]

SCRIPT = SOURCE.parent / "packaging" / "sysvinit" / "phoenix-ga"
Service = Callable[[str], int]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run the script with an action, in a directory of the test, and return its exit status."""
    program = tmp_path / "phoenix-ga"
    options = f"-p unix:{tmp_path}/agent.sock --run-directory {tmp_path}/run/phoenix-ga"
    start = f"echo $$ >{tmp_path}/pid; PYTHONPATH={SOURCE} exec {sys.executable} -m phoenix_ga.agent {options}"
    program.write_text(f"#!/bin/sh\n{start} --log-file {tmp_path}/log\n")
    program.chmod(0o755)
    (tmp_path / "run").mkdir()
    script = tmp_path / "init"
    text = (
        SCRIPT.read_text()
        .replace("/usr/sbin/phoenix-ga", str(program))
        .replace("/run/phoenix-ga", f"{tmp_path}/run/phoenix-ga")
    )
    script.write_text(text)

    def act(action: str) -> int:
        return subprocess.run(["sh", script, action], check=False, capture_output=True).returncode

    yield act
    act("stop")


def pid(tmp_path: Path) -> int:
    try:
        return int((tmp_path / "pid").read_text() or 0)
    except FileNotFoundError:
        return 0


def is_up(tmp_path: Path, times: int) -> bool:
    log = tmp_path / "log"
    return log.exists() and log.read_text().count(" is up") == times


def test_the_agent_is_started_supervised_reloaded_and_stopped(service: Service, tmp_path: Path) -> None:
    assert service("status") == 3
    assert service("start") == 0
    wait_for(lambda: is_up(tmp_path, 1))
    assert service("status") == 0
    assert service("start") == 0
    first = pid(tmp_path)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: is_up(tmp_path, 2))
    second = pid(tmp_path)
    assert second not in (0, first)
    assert service("reload") == 0
    wait_for(lambda: "configuration" in (tmp_path / "log").read_text())
    os.kill(second, 0)
    assert service("restart") == 0
    wait_for(lambda: is_up(tmp_path, 3))
    third = pid(tmp_path)
    assert service("stop") == 0
    assert service("status") == 3
    for process in (first, second, third):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert (tmp_path / "log").read_text().rstrip().endswith("stopping")
