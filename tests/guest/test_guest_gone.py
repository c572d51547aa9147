"""The agent restarts, stops or is killed, or the guest is reset or paused, while phoenixctl waits for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from tests.cli.conftest import command_line, environment
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(files=files) as machine:
        yield machine


@pytest.fixture
def port(machine: Machine) -> Path:
    port = machine.socket(AGENT_PORT)
    wait_for_agent(port)
    return port


def start(port: Path, *options: str) -> subprocess.Popen[str]:
    """Start a program in the guest that is silent after its first line."""
    words = ("exec", *options, f"unix:{port}", "--", "sh", "-c", "echo up; exec sleep 1000")
    process = subprocess.Popen(
        command_line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


LOSSES: dict[str, Callable[[Machine], object]] = {
    "restarted": lambda machine: machine.run("systemctl restart phoenix-ga"),
    "killed": lambda machine: machine.run("systemctl kill -s KILL phoenix-ga"),
    "killed for good": lambda machine: machine.run("systemctl mask --now --runtime phoenix-ga"),
    "reset": lambda machine: machine.reset(),
    "paused": lambda machine: machine.pause(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_client_ends_when_the_guest_is_gone(
    machine: Machine, port: Path, loss: Callable[[Machine], object]
) -> None:
    with start(port) as process:
        loss(machine)
        try:
            # Twice what it should take on a machine that does nothing else.
            _, text = process.communicate(timeout=40)
        finally:
            process.kill()
            machine.resume()
            machine.run("systemctl unmask --runtime phoenix-ga && systemctl start phoenix-ga")
    assert process.returncode == 125
    assert "the agent" in text


def test_a_client_goes_on_after_a_pause_that_it_was_told_to_wait_for(machine: Machine, port: Path) -> None:
    with start(port, "--timeout", "300") as process:
        machine.pause()
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=25)
        machine.resume()
        machine.run("pkill -f '[s]leep 1000'")
        process.communicate(timeout=60)
    assert process.returncode == 128 + 15
