"""A transfer that is cut off at a random moment: the file is the old one or the new one, and nothing is left."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.client import PhoenixError, connect
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

#: How long the agent may take to answer again, in seconds. An idle machine needs less than one.
PATIENCE = 60.0

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1200)]

# Where nothing but the target may ever be seen.
DIRECTORY = "/root/target"
SIZE = 12 << 20


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(files=files) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        machine.run(f"mkdir {DIRECTORY}")
        yield machine


class Versions:
    """The file as it is in the guest, and the one that is being put in its place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.old = ""
        self.new = self.make()

    def make(self) -> str:
        """Make another file, and return its digest, which is its name too."""
        data = os.urandom(SIZE)
        digest = hashlib.sha256(data).hexdigest()
        (self._directory / digest).write_bytes(data)
        return digest

    @property
    def source(self) -> Path:
        return self._directory / self.new

    def check(self, machine: Machine) -> None:
        """See that the target is whole, and alone, and that no process was left behind."""
        machine.run("sync")
        names = machine.run(f"ls -A {DIRECTORY}").text.split()
        assert names in ([], ["file"]), names
        found = machine.run(f"sha256sum < {DIRECTORY}/file").text.split()[0] if names else ""
        assert found in (self.old, self.new), "neither the old nor the new file"
        self.old = found
        if found == self.new:
            self.new = self.make()
        assert machine.run("pgrep -f '[s]leep 4711' || true").text == ""


@pytest.fixture
def versions(tmp_path: Path, machine: Machine) -> Versions:
    # On the disk too: a machine that is reset would have the old file again.
    machine.run(f"rm -rf {DIRECTORY}/* && sync")
    return Versions(tmp_path)


async def interrupted(machine: Machine, versions: Versions, delay: float, interrupt: Callable[[], object]) -> None:
    """Put the file, with a process running beside it, and cut both off after `delay` seconds."""

    async def put() -> None:
        async with connect(str(machine.socket(AGENT_PORT)), timeout=5) as guest, await guest.exec(["sleep", "4711"]):
            await guest.put(versions.source, f"{DIRECTORY}/file")
            await asyncio.sleep(60)

    putting = asyncio.ensure_future(put())
    await asyncio.sleep(delay)
    await asyncio.get_running_loop().run_in_executor(None, interrupt)
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)


async def answer_within(machine: Machine, seconds: float) -> None:
    """See that a new client is answered."""
    start = time.monotonic()
    while True:
        try:
            async with connect(str(machine.socket(AGENT_PORT)), connect_timeout=seconds) as guest:
                await guest.ping()
                break
        except PhoenixError:
            assert time.monotonic() - start < seconds
    assert time.monotonic() - start < seconds


Interruption = Callable[[Machine], None]


def kill_agent(machine: Machine) -> None:
    machine.run("systemctl kill -s KILL --kill-who=main phoenix-ga; sleep 0.5")
    machine.run("until systemctl is-active -q phoenix-ga; do sleep 0.1; done", timeout=PATIENCE)


def leave(machine: Machine) -> None:
    """The client is cancelled, and that is all."""


def pause(machine: Machine) -> None:
    machine.pause()
    time.sleep(0.3)
    machine.resume()


def reset(machine: Machine) -> None:
    machine.reset()
    wait_for_agent(machine.socket(AGENT_PORT))


INTERRUPTIONS: dict[str, tuple[Interruption, float]] = {
    "the agent is killed": (kill_agent, PATIENCE),
    "the client is gone": (leave, PATIENCE),
    "the machine is paused": (pause, PATIENCE),
    "the machine is reset": (reset, PATIENCE),
}


@pytest.mark.parametrize(
    ("interrupt", "patience", "rounds"),
    [
        pytest.param(*interruption, rounds, id=f"{name}-{rounds}", marks=[pytest.mark.soak] if rounds == 30 else [])
        for name, interruption in INTERRUPTIONS.items()
        # A reset takes as long as a boot.
        for rounds in (1 if interruption[0] is reset else 2, 30)
    ],
)
def test_a_put_that_is_cut_off_leaves_the_old_file_or_the_new_one(
    machine: Machine, versions: Versions, interrupt: Interruption, patience: float, rounds: int
) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        delay = chance.uniform(0, 0.8)
        asyncio.run(interrupted(machine, versions, delay, lambda: interrupt(machine)))
        asyncio.run(answer_within(machine, patience))
        machine.run("until ! pgrep -f '[s]leep 4711'; do sleep 0.1; done", timeout=PATIENCE)
        versions.check(machine)


def test_a_process_ends_with_a_client_that_hardly_came(machine: Machine) -> None:
    async def come_and_go() -> None:
        async with connect(str(machine.socket(AGENT_PORT))) as guest:
            await guest.exec(["sleep", "4711"])

    for _ in range(5):
        asyncio.run(come_and_go())
        # No other client comes, whose `sync` would end it as well.
        machine.run("until ! pgrep -f '[s]leep 4711'; do sleep 0.1; done", timeout=PATIENCE)


def snapshot_job(machine: Machine, command: str) -> Callable[[], None]:
    """Return what saves, loads or deletes a snapshot of the machine and its root disk."""
    (root,) = (
        block["inserted"]["node-name"]
        for block in machine.qmp("query-block")
        if block.get("inserted", {}).get("drv") == "qcow2" and block["inserted"]["file"].endswith("root.qcow2")
    )

    def run() -> None:
        arguments = {} if command == "snapshot-delete" else {"vmstate": root}
        machine.qmp(command, job_id="snapshot", tag="midway", devices=[root], **arguments)
        while (job := machine.qmp("query-jobs")[0])["status"] != "concluded":
            time.sleep(0.05)
        machine.qmp("job-dismiss", id="snapshot")
        assert "error" not in job, job

    return run


@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=pytest.mark.soak)])
def test_a_snapshot_of_a_transfer_that_is_loaded_later_confuses_nobody(
    machine: Machine, versions: Versions, rounds: int
) -> None:
    chance = random.Random(rounds)

    for _ in range(rounds):
        save = snapshot_job(machine, "snapshot-save")
        asyncio.run(interrupted(machine, versions, chance.uniform(0.05, 0.6), save))
        asyncio.run(answer_within(machine, PATIENCE))
        snapshot_job(machine, "snapshot-load")()
        machine.resume()
        asyncio.run(answer_within(machine, PATIENCE))
        machine.run("until ! pgrep -f '[s]leep 4711'; do sleep 0.1; done", timeout=PATIENCE)
        versions.check(machine)
        snapshot_job(machine, "snapshot-delete")()
