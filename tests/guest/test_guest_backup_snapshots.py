"""Snapshots under load: each restored guest boots, and its database has every row that was committed before."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.disks import DiskSpec
from lab.libvirt import Domain, Libvirt
from lab.machine import Machine
from tests import disk_copies
from tests.cli.conftest import command_line, environment
from tests.guest import postgresql_guest
from tests.guest.backup_guest import WRITER, acknowledged, kill_snapshot, phoenixctl, start_writer, wait_for_writers
from tests.guest.postgresql_guest import DISKS, problems
from tests.support import wait_for
from tools.guest import AGENT_PORT, AGENT_RUNS, agent_files, wait_for_agent

pytestmark = [
    pytest.mark.guest,
    pytest.mark.soak,
    pytest.mark.root,
    pytest.mark.programs("qemu-img", "psql"),
    pytest.mark.timeout(3600),
]

#: 30 snapshots by each way.
SERIES, ROUNDS = 6, 5
KILLS = 20
# The guest is busy.
PATIENT = ("--json", "--timeout", "60")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, monitor: Path) -> Iterator[Machine]:
    disks = [DiskSpec(size=size, serial=name) for name, size in DISKS.items()]
    arguments = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with postgresql_guest.files() as files:
        files.update(agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"))
        with Machine(files=files, disks=disks, memory="768M", arguments=arguments) as machine:
            wait_for_agent(machine.socket(AGENT_PORT))
            postgresql_guest.start(machine)
            yield machine


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    disks = [DiskSpec(size=size, serial=name) for name, size in DISKS.items()]
    with postgresql_guest.files() as files, Libvirt() as libvirt:
        files.update(agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"))
        with Domain(libvirt, "web1", files=files, ports=(AGENT_PORT,), disks=disks) as domain:
            domain.run(AGENT_RUNS, timeout=600)
            postgresql_guest.start(domain)
            yield domain


def take(line: list[str]) -> list[dict[str, Any]]:
    """Take a snapshot of one guest; return its disks."""
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    (guest,) = manifest["guests"].values()
    assert manifest["verdict"] == "consistent"
    print(f"writers stood still for {guest['blocked']} ms", flush=True)
    disks: list[dict[str, Any]] = guest["disks"]
    return disks


def restore(disks: dict[str, Path], directory: Path, before: dict[str, int]) -> None:
    """Boot a guest with these disks, which are left as they are, and check its database."""
    directory.mkdir()
    scratch = {}
    for name, path in disks.items():
        scratch[name] = directory / f"{name}.qcow2"
        information = json.loads(subprocess.check_output(["qemu-img", "info", "-U", "--output=json", path]))
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", information["format"], "-b", path, scratch[name]],
            check=True,
        )
    root = scratch.pop("root")
    specifications = [DiskSpec(path=path, serial=name, format="qcow2") for name, path in scratch.items()]
    with Machine(ports=[], overlay=root, disks=specifications, memory="768M") as restored:
        assert problems(restored, before) == []


@pytest.mark.parametrize("series", range(SERIES))
def test_guests_restored_from_snapshots_by_qemu_hold_every_row(
    machine: Machine, monitor: Path, tmp_path: Path, series: int
) -> None:
    names = {"root": "root", "disk0": "data", "disk1": "wal"}
    for number in range(ROUNDS):
        before = acknowledged(machine)
        words = ("snapshot", "--qmp", str(monitor), "--external", str(tmp_path), "--name", f"n{number}", "GUEST")
        disks = take(phoenixctl(machine, *PATIENT, *words))
        files = {names[disk["disk"]]: Path(disk["source"]) for disk in disks if disk["disk"] in names}
        assert len(files) == len(names)
        wait_for_writers(machine, acknowledged(machine))
        restore(files, tmp_path / str(number), before)


@pytest.mark.parametrize("series", range(SERIES))
@pytest.mark.programs("virsh", "nsenter")
def test_guests_restored_from_snapshots_by_libvirt_hold_every_row(
    domain: Domain, tmp_path: Path, series: int
) -> None:
    names = {"vda": "root", "vdc": "data", "vdd": "wal"}
    for number in range(ROUNDS):
        before = acknowledged(domain)
        # In the mount namespace in which libvirt has its directories.
        words = (*PATIENT, "snapshot", "--external", str(tmp_path), "--name", f"libvirt{series}{number}", "web1")
        disks = take(["nsenter", f"--mount=/proc/{domain.libvirt.pid}/ns/mnt", *command_line(*words)])
        files = {names[disk["disk"]]: Path(disk["source"]) for disk in disks if disk["disk"] in names}
        assert len(files) == len(names)
        wait_for_writers(domain, acknowledged(domain))
        restore(files, tmp_path / str(number), before)


def test_a_snapshot_that_is_killed_leaves_no_file_in_use_without_being_told(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    chance = random.Random(20)
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files[WRITER] = disk_copies.WRITER
    monitor = tmp_path / "qmp"
    arguments = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with Machine(files=files, disks=[DiskSpec(serial="one"), DiskSpec(serial="two")], arguments=arguments) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        for name in ("one", "two"):
            disk, point = f"/dev/disk/by-id/virtio-{name}", f"/m/{name}"
            machine.run(f"mkfs.ext4 -q {disk} && mkdir -p {point} && mount {disk} {point}")
            start_writer(machine, name, f"{point}/log")
        wait_for(lambda: acknowledged(machine).keys() == {"one", "two"})
        for number in range(KILLS):
            print(kill_snapshot(machine, monitor, tmp_path / str(number), chance.uniform(0.4, 3)), flush=True)
