"""Backups of real guests: copies made while frozen need no recovery, and the verdict of phoenixctl is right."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests import disk_copies
from tests.cli.conftest import environment
from tests.disk_copies import PROGRAMS, check, copy, numbers
from tests.ends.client import LineClient, RefusedError
from tests.guest.backup_guest import (
    WRITER,
    FrozenCommand,
    acknowledged,
    phoenixctl,
    settled,
    start_writer,
    wait_for_writers,
)
from tests.support import wait_for
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1200)]

NOT_HELD = 123
# Filesystem -> size of its disk. A writer is on each; "mapped" is behind the device mapper, and has none.
DISKS = {"ext4": "64M", "xfs": "320M", "btrfs": "128M", "mapped": "64M"}
KINDS = ("ext4", "xfs", "btrfs")
SETUP = """set -e
cd /dev/disk/by-id; mkdir -p /m/ext4 /m/xfs /m/btrfs /m/mapped
mkfs.ext4 -q virtio-ext4; mkfs.xfs -q virtio-xfs; mkfs.btrfs -q virtio-btrfs
dmsetup create mapped --table "0 $(blockdev --getsz virtio-mapped) linear /dev/disk/by-id/virtio-mapped 0"
mkfs.ext4 -q /dev/mapper/mapped
mount virtio-ext4 /m/ext4; mount virtio-xfs /m/xfs; mount virtio-btrfs /m/btrfs; mount /dev/mapper/mapped /m/mapped
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, monitor: Path) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files[WRITER] = disk_copies.WRITER
    disks = [DiskSpec(size=size, serial=name) for name, size in DISKS.items()]
    arguments = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with Machine(files=files, disks=disks, memory="768M", arguments=arguments) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        machine.run(SETUP, timeout=120)
        for name in KINDS:
            start_writer(machine, name, f"/m/{name}/log")
        wait_for(lambda: len(acknowledged(machine)) == len(KINDS))
        yield machine


@pytest.fixture
def client(machine: Machine) -> Iterator[LineClient]:
    with LineClient.connect(machine.socket(AGENT_PORT)) as client:
        client.socket.settimeout(120)
        client.sync()
        yield client


def disk(kind: str) -> str:
    """Return QEMU's name of a disk."""
    return f"disk{list(DISKS).index(kind)}"


def copies(machine: Machine, directory: Path) -> dict[str, Path]:
    """Copy the disks, on the host."""
    return {kind: copy(machine.directory / f"{disk(kind)}.raw", directory) for kind in KINDS}


def recovery(kind: str, copied: Path, number: int) -> str:
    """Return what must be recovered in a copy, in which a writer had made a number durable."""
    try:
        found = numbers(kind, copied, "log")
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        return str(error)
    if found != list(range(1, len(found) + 1)) or len(found) < number:
        return f"{number} was durable, and there are {found[-3:]}"
    return check(kind, copied)


@pytest.mark.root
@pytest.mark.programs(*PROGRAMS)
def test_copies_made_while_frozen_need_no_recovery(machine: Machine, client: LineClient, tmp_path: Path) -> None:
    wait_for(lambda: all(number > 20 for number in acknowledged(machine).values()))
    # Without a freeze, each of them does, unless the kernel has just written its log back.
    doubtful = set(KINDS)
    while doubtful:
        before = acknowledged(machine)
        found = {kind: recovery(kind, copied, before[kind]) for kind, copied in copies(machine, tmp_path).items()}
        doubtful -= {kind for kind, text in found.items() if text}
    freeze = client.call("fs-freeze", timeout=300, details=True)
    try:
        before = settled(machine)
        copied_disks = copies(machine, tmp_path)
        assert settled(machine) == before
    finally:
        assert client.call("fs-unfreeze", generation=freeze["generation"]) is True
    points = [point.partition(" ")[0] for point in freeze["filesystems"]]
    assert sorted(points) == ["/", "/m/btrfs", "/m/ext4", "/m/mapped", "/m/xfs"]
    wait_for_writers(machine, before)
    for kind, copied in copied_disks.items():
        assert recovery(kind, copied, before[kind]) == "", kind


def test_a_frozen_agent_answers_without_a_page_cache(machine: Machine, client: LineClient) -> None:
    generation = client.call("fs-freeze", timeout=300, details=True)["generation"]
    # Clean pages only, those of programs among them.
    machine.run("echo 1 > /proc/sys/vm/drop_caches")
    assert client.call("ping")
    assert client.call("get-freeze-status", details=True)["frozen"] is True
    machine.run("echo 1 > /proc/sys/vm/drop_caches")
    assert client.call("fs-unfreeze", generation=generation) is True


KILL = "systemctl kill --signal KILL phoenix-ga"


@pytest.mark.parametrize(
    ("auto_thaw", "command", "status", "told"),
    [
        (300, "true", 0, ""),
        (300, "fsfreeze --unfreeze /m/xfs", NOT_HELD, "another program thawed"),
        (1, "sleep 2", NOT_HELD, "its time limit was reached"),
        (300, f"{KILL} --kill-who main", NOT_HELD, "the agent was killed"),
        # With its watchdog.
        (300, KILL, NOT_HELD, "the agent was killed"),
    ],
    ids=["thaw", "fsfreeze", "deadline", "agent", "watchdog"],
)
def test_the_verdict_tells_whether_the_freeze_held(
    machine: Machine, auto_thaw: int, command: str, status: int, told: str
) -> None:
    with FrozenCommand(machine, auto_thaw) as frozen:
        before = acknowledged(machine)
        machine.run(command)
        if status:
            wait_for(lambda: any(number > before[name] + 1 for name, number in acknowledged(machine).items()))
        found, errors = frozen.end()
    assert (found, told in errors) == (status, True), errors
    wait_for_writers(machine, acknowledged(machine))


def test_the_guest_thaws_if_phoenixctl_is_killed(machine: Machine) -> None:
    with FrozenCommand(machine, 3) as frozen:
        before = acknowledged(machine)
        frozen.process.kill()
        wait_for_writers(machine, before)
    # The writers may go on before the last filesystem is thawed.
    wait_for(lambda: how_it_ended(machine) != "")
    assert how_it_ended(machine) == "deadline"


def how_it_ended(machine: Machine) -> str:
    line = phoenixctl(machine, "--json", "freeze-status", "GUEST")
    done = subprocess.run(line, capture_output=True, check=True, env=environment())
    ended: str = json.loads(done.stdout)["ended"]
    return ended


@pytest.mark.soak
def test_a_suspended_device_fails_the_freeze_and_the_others_are_thawed(machine: Machine, client: LineClient) -> None:
    machine.run("dmsetup suspend --noflush --nolockfs mapped")
    try:
        client.ask("fs-freeze", "freeze")
        pings = 0
        while True:
            client.ask("ping", pings)
            answer = client.answer()
            if answer["tag"] == "freeze":
                break
            assert answer["tag"] == pings
            pings += 1
            time.sleep(0.2)
        assert pings > 10
        assert "/m/mapped" in RefusedError(answer).text
        wait_for_writers(machine, acknowledged(machine))
    finally:
        machine.run("dmsetup resume mapped")
    assert client.answer()["tag"] == pings
    # The device answers again: its filesystem is thawed, and the next freeze is like any other.
    machine.run("touch /m/mapped/written && sync /m/mapped/written", timeout=60)
    wait_for(lambda: client.call("get-freeze-status", details=True)["frozen"] is False)
    generation = client.call("fs-freeze", timeout=60, details=True)["generation"]
    assert client.call("fs-unfreeze", generation=generation) is True


@pytest.mark.soak
@pytest.mark.root
@pytest.mark.programs("qemu-img", *PROGRAMS)
def test_incremental_backups_by_qemu_are_consistent(machine: Machine, monitor: Path, tmp_path: Path) -> None:
    words = ("--json", "snapshot", "--qmp", str(monitor), "--disk", disk("btrfs"), "--backup", str(tmp_path))
    for name, incremental in (("full", False), ("more", True)):
        line = phoenixctl(machine, *words, "--bitmap", "daily", "--name", name, "GUEST")
        done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr
        (guest,) = json.loads(done.stdout)["guests"].values()
        assert guest["disks"][0]["incremental"] is incremental
    # As docs/backup.md says.
    full, more = (next(tmp_path.glob(f"{name}-*.qcow2")) for name in ("full", "more"))
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", full, more], check=True)
    logs = []
    for path in (full, more):
        raw = path.with_suffix(".raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
        logs.append(numbers("btrfs", raw, "log"))
        assert check("btrfs", raw) == ""
    assert logs[1][: len(logs[0])] == logs[0]
    assert logs[1] == list(range(1, len(logs[1]) + 1))
    assert machine.qmp("query-block-jobs") == []


# The last test, because the disks have other files then.
@pytest.mark.root
@pytest.mark.programs(*PROGRAMS)
def test_snapshots_by_qemu_need_no_recovery(machine: Machine, monitor: Path, tmp_path: Path) -> None:
    before = acknowledged(machine)
    disks = [word for kind in KINDS for word in ("--disk", disk(kind))]
    words = ("snapshot", "--qmp", str(monitor), *disks, "--external", str(tmp_path), "--name", "one", "GUEST")
    line = phoenixctl(machine, "--json", *words)
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    (guest,) = manifest["guests"].values()
    assert (manifest["verdict"], len(guest["disks"])) == ("consistent", len(KINDS))
    print(f"writers stood still for {guest['blocked']} ms")
    for kind, copied in copies(machine, tmp_path).items():
        assert recovery(kind, copied, before[kind]) == "", kind
