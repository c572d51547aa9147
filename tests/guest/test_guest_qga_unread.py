"""A host that has the port open and does not read while 100 MiB are due, in the dialect of qemu-ga."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

PORT = "org.qemu.guest_agent.0"
# The most that one read gives, in bytes.
PIECE = 48 << 20
# One answer of 64 MiB of base64, and what is read while it is made.
MEMORY_MAX = 160 << 20
IDLE_MEMORY_MAX = 16 << 20
# Seconds.
WATCHED = 5.0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with our agent, in the place of qemu-ga, by its own name and as itself on one port after the other."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files["/usr/sbin/phoenix-qemu-ga"] = files["/usr/sbin/phoenix-ga"]
    with Machine(files=files, ports=[PORT], memory="768M", peer=False) as machine:
        machine.run(f"head -c {PIECE} /dev/zero > /run/large")
        yield machine


@pytest.fixture(params=["phoenix-ga", "phoenix-qemu-ga"])
def agent(request: pytest.FixtureRequest, machine: Machine) -> Iterator[int]:
    """The process ID of the agent."""
    machine.run("systemctl stop phoenix-ga")
    program = str(request.param)
    machine.run(f"systemd-run -q -u agent {program} -p /dev/virtio-ports/{PORT}")
    yield int(machine.run("systemctl show --property MainPID --value agent").text)
    machine.run("systemctl stop agent; systemctl reset-failed", check=False)


@pytest.fixture
def port(machine: Machine) -> Path:
    return machine.socket(PORT)


def memory(machine: Machine, process: int) -> int:
    """Return the resident memory in bytes, what is shared with files included."""
    return int(machine.run(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{process}/status").text) << 10


def processor_time(machine: Machine, process: int) -> int:
    """Return the ticks of processor time that a process has used, a hundred each second."""
    fields = machine.run(f"cat /proc/{process}/stat").text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def ask(client: LineClient, execute: str, **arguments: object) -> None:
    client.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")


def begin(client: LineClient, number: int) -> int:
    """Say guest-sync-delimited, and return how many bytes came before its answer, which are ignored."""
    sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    client.send(b"\xff" + json.dumps(sync).encode() + b"\n")
    mine = json.dumps({"return": number}).encode() + b"\n"
    stale = 0
    while not (line := client.line()).endswith(b"\xff" + mine):
        stale += len(line)
    return stale + len(line) - len(mine) - 1


def settle(machine: Machine, process: int) -> None:
    """Wait until the agent has done what it can do."""

    def at_rest() -> bool:
        before = processor_time(machine, process)
        time.sleep(1)
        return processor_time(machine, process) == before

    wait_for(at_rest)


@pytest.mark.parametrize("leaves", ["after a while", "at once"])
def test_nothing_is_done_for_a_host_that_does_not_read_and_the_next_client_hears_only_its_own(
    machine: Machine, agent: int, port: Path, leaves: str
) -> None:
    with LineClient.connect(port) as client:
        begin(client, 1)
        ask(client, "guest-file-open", path="/run/large")
        handle = client.answer()["return"]
        for _ in range(3):
            ask(client, "guest-file-seek", handle=handle, offset=0, whence=0)
            ask(client, "guest-file-read", handle=handle, count=PIECE)
        if leaves == "after a while":
            settle(machine, agent)
            before = processor_time(machine, agent)
            time.sleep(WATCHED)
            assert processor_time(machine, agent) - before <= 1
            assert memory(machine, agent) < MEMORY_MAX
    for number in range(3):
        with LineClient.connect(port) as client:
            stale = begin(client, 4000 + number)
            # Of what was due to the earlier client, there is at most some of the answer that was on its way.
            assert stale < PIECE
            ask(client, "guest-ping")
            assert client.answer() == {"return": {}}
            ask(client, "guest-info")
            assert "supported_commands" in client.answer()["return"]
    settle(machine, agent)
    assert memory(machine, agent) < IDLE_MEMORY_MAX
