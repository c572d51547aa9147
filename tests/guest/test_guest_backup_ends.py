"""A hundred ways in which a freeze ends: the guest writes again, nothing stays frozen, and the verdict was right."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga.agent.install import PROGRAM
from tests import disk_copies
from tests.ends.client import LineClient
from tests.guest.backup_guest import (
    WRITER,
    FrozenCommand,
    acknowledged,
    kill_snapshot,
    start_writer,
    wait_for_writers,
)
from tests.hub.conftest import HubProcess
from tests.support import wait_for
from tools.guest import agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.timeout(3600)]

#: How often each way is taken, in another order each time: about a hundred rounds. The ways of
#: test_guest_backup.py are taken once with every run of the tests.
SERIES = 6
PORT, OTHER_PORT = DEFAULT_PORTS
NAMES = ("ext4", "xfs")
HELD, NOT_HELD = 0, 123
FORMAT = "cd /dev/disk/by-id; mkfs.ext4 -q virtio-ext4; mkfs.xfs -q virtio-xfs"
DISKS = "/dev/disk/by-id/virtio-ext4 /dev/disk/by-id/virtio-xfs"
MOUNT = f"mkdir -p /m/ext4 /m/xfs; udevadm wait --timeout=60 {DISKS} && cd /dev/disk/by-id && " + (
    "mount virtio-ext4 /m/ext4 && mount virtio-xfs /m/xfs"
)
KILL = "systemctl kill --signal KILL phoenix-ga"
RESTART = "systemctl restart phoenix-ga"


def start_writers(machine: Machine) -> None:
    for name in NAMES:
        start_writer(machine, name, f"/m/{name}/log")
    wait_for(lambda: len(acknowledged(machine)) == len(NAMES))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, monitor: Path) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files[WRITER] = disk_copies.WRITER
    disks = [DiskSpec(size="64M", serial="ext4"), DiskSpec(size="320M", serial="xfs")]
    arguments = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with Machine(files=files, disks=disks, memory="768M", peer=False, arguments=arguments) as machine:
        for port in DEFAULT_PORTS:
            wait_for_agent(machine.socket(port))
        machine.run(f"{FORMAT}; {MOUNT}", timeout=120)
        start_writers(machine)
        yield machine


def in_guest(command: str) -> Callable[[Machine], None]:
    """Return what runs a command in the guest."""

    def run(machine: Machine) -> None:
        machine.run(command, timeout=120)

    return run


def thaw_by_another_client(machine: Machine) -> None:
    with LineClient.connect(machine.socket(OTHER_PORT)) as client:
        client.socket.settimeout(60)
        client.sync()
        assert client.call("fs-unfreeze") is True


def pause_across_the_deadline(machine: Machine) -> None:
    machine.pause()
    time.sleep(4)
    machine.resume()


def reset(machine: Machine) -> None:
    machine.reset()
    machine.run(MOUNT, timeout=60)
    start_writers(machine)


def run_out_of_memory(machine: Machine) -> None:
    """The kernel kills the agent, or its watchdog, or both."""
    machine.run("systemctl set-property --runtime phoenix-ga MemoryMax=1M MemorySwapMax=0", check=False)
    try:
        machine.run("systemctl kill --kill-who main --signal HUP phoenix-ga; sleep 2", check=False)
    finally:
        machine.run("systemctl set-property --runtime phoenix-ga MemoryMax=infinity")


UPGRADE = f"systemd-run -q --wait sh -c 'cp {PROGRAM} {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM} && {RESTART}'"
#: How a freeze of `phoenixctl frozen` ends -> its time limit, what is done, and the verdict; None: either.
ENDS: dict[str, tuple[int, Callable[[Machine], None], int | None]] = {
    "thaw": (300, in_guest("true"), HELD),
    "deadline": (2, in_guest("true"), NOT_HELD),
    "another client": (300, thaw_by_another_client, NOT_HELD),
    "fsfreeze": (300, in_guest("fsfreeze -u /m/ext4; fsfreeze -u /m/xfs"), NOT_HELD),
    "agent killed": (300, in_guest(f"{KILL} --kill-who main"), NOT_HELD),
    "agent and watchdog killed": (300, in_guest(KILL), NOT_HELD),
    "unit stopped": (300, in_guest("systemctl stop phoenix-ga; systemctl start phoenix-ga"), NOT_HELD),
    "unit restarted": (300, in_guest(RESTART), NOT_HELD),
    # It cannot write before the deadline.
    "upgraded": (3, in_guest(UPGRADE), NOT_HELD),
    "out of memory": (20, run_out_of_memory, None),
    "paused": (3, pause_across_the_deadline, None),
    "clock forward": (300, in_guest("date -s '+1 day'"), HELD),
    "clock back": (300, in_guest("date -s '-1 day'"), HELD),
    "reset": (300, reset, NOT_HELD),
}


def frozen_command(machine: Machine, name: str) -> float:
    """End a freeze of `phoenixctl frozen`, and check the verdict; return for how long writers stood still since."""
    auto_thaw, end, verdict = ENDS[name]
    with FrozenCommand(machine, auto_thaw) as frozen:
        before = acknowledged(machine)
        began = time.monotonic()
        end(machine)
        if verdict == NOT_HELD:
            # The last number before the freeze may have been told late; a reset guest counts anew.
            wait_for(
                lambda: all(number - before[name] not in (0, 1) for name, number in acknowledged(machine).items())
            )
            stall = time.monotonic() - began
        during = acknowledged(machine)
        status, errors = frozen.end()
    if verdict != NOT_HELD:
        wait_for_writers(machine, during)
        stall = time.monotonic() - began
    if verdict is None:
        # Consistent if nobody wrote.
        assert status in (HELD, NOT_HELD), errors
        assert status == NOT_HELD or all(during[name] - before[name] <= 1 for name in before), errors
    else:
        assert status == verdict, errors
    return stall


def client_killed(machine: Machine) -> float:
    """Freeze for 2 seconds, and disconnect."""
    with LineClient.connect(machine.socket(PORT)) as client:
        client.socket.settimeout(60)
        client.sync()
        client.call("fs-freeze", timeout=2)
        before, began = acknowledged(machine), time.monotonic()
    wait_for_writers(machine, before)
    return time.monotonic() - began


def phoenixctl_killed(machine: Machine) -> float:
    with FrozenCommand(machine, 2) as frozen:
        before, began = acknowledged(machine), time.monotonic()
        frozen.process.kill()
        wait_for_writers(machine, before)
        return time.monotonic() - began


def hub_killed(machine: Machine, directory: Path) -> float:
    directory.mkdir()
    with (
        HubProcess(directory, {"web1": f"unix:{machine.socket(PORT)}"}) as hub,
        FrozenCommand(machine, 3, f"unix:{hub.socket('web1')}") as frozen,
    ):
        before, began = acknowledged(machine), time.monotonic()
        hub.kill()
        wait_for_writers(machine, before)
        stall = time.monotonic() - began
        assert frozen.end()[0] == NOT_HELD
    return stall


def snapshot_killed(machine: Machine, monitor: Path, directory: Path, delay: float) -> float:
    began = time.monotonic()
    print(kill_snapshot(machine, monitor, directory, delay))
    return time.monotonic() - began - delay


def assert_nothing_frozen(machine: Machine) -> None:
    wait_for_agent(machine.socket(PORT))
    with LineClient.connect(machine.socket(PORT)) as client:
        client.socket.settimeout(60)
        client.sync()
        assert client.call("get-freeze-status") is False
    machine.run(
        "for point in / /m/ext4 /m/xfs; do touch $point/probe && sync $point/probe || exit 1; done", timeout=30
    )
    wait_for(lambda: machine.run("ls /run/phoenix-ga", check=False).text == "")


@pytest.mark.parametrize("series", range(SERIES))
def test_a_freeze_that_ends_in_any_way_leaves_nothing_frozen(
    machine: Machine, monitor: Path, tmp_path: Path, series: int
) -> None:
    chance = random.Random(series)
    ways: dict[str, Callable[[], float]] = {
        **{name: functools.partial(frozen_command, machine, name) for name in ENDS},
        "client killed": lambda: client_killed(machine),
        "phoenixctl killed": lambda: phoenixctl_killed(machine),
        "hub killed": lambda: hub_killed(machine, tmp_path / "hub"),
        "snapshot killed": lambda: snapshot_killed(machine, monitor, tmp_path / "n", chance.uniform(0.5, 5)),
    }
    for name in chance.sample(sorted(ways), len(ways)):
        stall = ways[name]()
        print(f"{name}: {stall:.1f} s", flush=True)
        assert_nothing_frozen(machine)
