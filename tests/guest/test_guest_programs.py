"""What programs use up, or do to others, does not stop the agent; and what becomes of them when it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.client import SyncGuest, connect_sync
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

GROUP = "/sys/fs/cgroup/system.slice/phoenix-ga.service"
#: A program in the shell that does not end when it is asked to.
STUBBORN = "trap '' TERM; while :; do sleep 1000 & wait; done"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(files=files) as machine:
        machine.run("useradd -m bob")
        yield machine


@pytest.fixture
def port(machine: Machine) -> Iterator[Path]:
    port = machine.socket(AGENT_PORT)
    wait_for_agent(port)
    yield port
    # What a test that failed has left.
    machine.run(f"echo 1 > {GROUP}/programs/cgroup.kill", check=False)


@pytest.fixture
def guest(port: Path) -> Iterator[SyncGuest]:
    with connect_sync(f"unix:{port}", timeout=90) as guest:
        yield guest


def main_process(machine: Machine) -> str:
    return machine.run("systemctl show -P MainPID -P NRestarts phoenix-ga").text


def until(machine: Machine, condition: str) -> None:
    machine.run(f"until {condition}; do sleep 0.1; done", timeout=240)


def freeze_and_thaw(guest: SyncGuest) -> None:
    for _ in range(3):
        guest.filesystems.freeze()
        assert guest.filesystems.status().frozen
        guest.filesystems.thaw()
        assert guest.ping()


def test_programs_and_the_agent_have_groups_of_their_own(machine: Machine, guest: SyncGuest) -> None:
    shown = guest.run(["cat", "/proc/self/cgroup"], check=True).stdout.decode()
    assert "/phoenix-ga.service/programs/" in shown
    pid = main_process(machine).split()[0]
    assert machine.run(f"cat /proc/{pid}/cgroup").text.strip().endswith("/phoenix-ga.service/agent")
    memory = int(machine.run("awk '/MemTotal/ { print $2 }' /proc/meminfo").text) * 1024
    assert 0.6 * memory < int(machine.run(f"cat {GROUP}/programs/memory.max").text) < 0.9 * memory
    tasks = int(machine.run("cat /proc/sys/kernel/threads-max").text)
    assert 0.4 * tasks < int(machine.run(f"cat {GROUP}/programs/pids.max").text) < 0.9 * tasks
    # The group of a program ends with it.
    until(machine, f'[ "$(ls -d {GROUP}/programs/*/)" = {GROUP}/programs/kept/ ]')


def events(file: str, name: str) -> str:
    """Return the condition that a limit of the programs was reached."""
    return f"[ $(awk '/^{name} / {{ print $2 }}' {GROUP}/programs/{file}) -gt 0 ]"


BOMB = """exec python3 -c '
import _thread, time
_thread.stack_size(65536)
while True:
    try:
        _thread.start_new_thread(time.sleep, (1000,))
    except RuntimeError:
        time.sleep(0.01)
'"""


@pytest.mark.parametrize(
    ("user", "program", "reached"),
    [
        pytest.param("", "tail /dev/zero", events("memory.events", "oom_kill"), id="memory"),
        pytest.param("", BOMB, events("pids.events", "max"), id="tasks"),
        pytest.param("bob", "while :; do kill -STOP -1; done 2> /dev/null", "pgrep -u bob", id="signals"),
    ],
)
def test_an_agent_beside_a_program_that_takes_all(
    machine: Machine, guest: SyncGuest, user: str, program: str, reached: str
) -> None:
    before = main_process(machine)
    # What is killed for its memory starts again.
    with guest.exec(["sh", "-c", f"while :; do ({program}); done"], user=user):
        freeze_and_thaw(guest)
        until(machine, reached)
        freeze_and_thaw(guest)
        machine.run(f"echo 1 > {GROUP}/programs/cgroup.kill", timeout=120)
    assert main_process(machine) == before


@pytest.mark.parametrize(
    "stop",
    [
        "systemctl restart phoenix-ga",
        "systemctl stop phoenix-ga",
        "systemctl kill --kill-who=main -s KILL phoenix-ga",
    ],
)
def test_programs_of_an_agent_that_stops(machine: Machine, guest: SyncGuest, stop: str) -> None:
    guest.exec(["sh", "-c", "exec sleep 4701"], detach=True)
    guest.qga.exec("sleep", arg=["4702"])
    guest.run(["sh", "-c", "setsid sleep 4703 > /dev/null 2>&1 < /dev/null &"], check=True)
    guest.exec(["sh", "-c", STUBBORN.replace("1000", "4704")])
    guest.exec(["sleep", "4705"])
    for number in range(4701, 4706):
        until(machine, f"pgrep -f '[s]leep {number}'")
    machine.run(stop, timeout=120)
    for number in (4704, 4705):
        until(machine, f"! pgrep -f '[s]leep {number}'")
    for number in (4701, 4702, 4703):
        assert machine.run(f"pgrep -f '[s]leep {number}'").text, number
    machine.run("systemctl start phoenix-ga", timeout=120)
    machine.run("pkill -f '[s]leep 470'")
