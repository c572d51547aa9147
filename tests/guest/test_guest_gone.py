"""The agent restarts, stops or is killed, or the guest is reset or paused, while phoenixctl waits for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga.agent.options.table import CONFIG_PATH
from tests.cli.conftest import command_line, environment
from tools.guest import agent_files, wait_for_agent

NATIVE, QEMU = DEFAULT_PORTS

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    ports = ", ".join(f"/dev/virtio-ports/{name}" for name in DEFAULT_PORTS)
    files[CONFIG_PATH] = f"[general]\nport = {ports}\n".encode()
    with Machine(files=files) as machine:
        yield machine


@pytest.fixture
def port(machine: Machine) -> Path:
    port = machine.socket(NATIVE)
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
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_client_ends_when_the_guest_is_gone(
    machine: Machine, port: Path, loss: Callable[[Machine], object]
) -> None:
    with start(port) as process:
        loss(machine)
        try:
            # Three times what it should take on a machine that does nothing else.
            _, text = process.communicate(timeout=60)
        finally:
            process.kill()
            machine.run("systemctl unmask --runtime phoenix-ga && systemctl start phoenix-ga")
    assert process.returncode == 125
    assert "the agent" in text


def test_a_client_ends_when_the_guest_is_paused_unless_it_was_told_to_wait(machine: Machine, port: Path) -> None:
    with start(port) as process, start(machine.socket(QEMU), "--timeout", "300") as patient:
        try:
            machine.pause()
            _, text = process.communicate(timeout=60)
            with pytest.raises(subprocess.TimeoutExpired):
                patient.communicate(timeout=5)
            machine.resume()
            machine.run("pkill -f '[s]leep 1000'")
            patient.communicate(timeout=60)
        finally:
            process.kill()
            patient.kill()
            machine.resume()
    assert process.returncode == 125
    assert "the agent" in text
    assert patient.returncode == 128 + 15
