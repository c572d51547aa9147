"""Copies of disks that are made while the guest is frozen need no recovery, and snapshots by QEMU do not either."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from phoenix_ga.client import FreezeNotHeldError, connect
from phoenix_ga.client.snapshots.model import EXTERNAL, Kind
from phoenix_ga.client.snapshots.qemu import QemuDisks
from phoenix_ga.client.snapshots.qmp import Qmp
from phoenix_ga.client.snapshots.take import GuestSnapshot, Snapshots
from tests.cli.conftest import command_line, environment
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(900),
    pytest.mark.programs("e2fsck", "dumpe2fs", "debugfs", "xfs_repair", "btrfs", "qemu-img"),
]

WRITER = "/root/durable_writer.py"
# Disk -> its size. In the guest, /dev/vdb and so on.
DISKS = {
    "ext4": "64M",
    "xfs": "320M",
    "btrfs": "128M",
    "first": "128M",
    "second": "128M",
    "lvm": "64M",
    "namespace": "64M",
}
# Where a logical volume begins in its only physical volume, in bytes; see pe_start in lvm.conf(5).
LVM_START = 1 << 20
SETUP = """set -e
mkfs.ext4 -q $ext4; mkfs.xfs -q $xfs; mkfs.btrfs -q $btrfs; mkfs.btrfs -q $first $second; mkfs.ext4 -q $namespace
pvcreate -q $lvm; vgcreate -q backup $lvm; lvcreate -q -y -l 100%FREE -n data backup; mkfs.ext4 -q /dev/backup/data
mkdir -p /m/ext4 /m/bind /m/xfs /m/btrfs /m/first /m/lvm /m/namespace /m/overlay
mount $ext4 /m/ext4; mount --bind /m/ext4 /m/bind; mount $xfs /m/xfs; mount $btrfs /m/btrfs; mount $first /m/first
mount /dev/backup/data /m/lvm
mkdir /m/lvm/upper /m/lvm/work
mount -t overlay -o lowerdir=/etc,upperdir=/m/lvm/upper,workdir=/m/lvm/work none /m/overlay
"""
IN_NAMESPACE = (
    "setsid --fork unshare --mount sh -c 'mount $namespace /m/namespace && touch /run/mounted && "
    f"exec python3 {WRITER} /m/namespace/log /run/acked-namespace' > /run/namespace.log 2>&1 < /dev/null"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files[WRITER] = Path(__file__).parents[1] / "agent" / "durable_writer.py"
    disks = [DiskSpec(size=size, serial=name) for name, size in DISKS.items()]
    # The lab has the other monitor, and a monitor has one client.
    monitor = tmp_path_factory.mktemp("qmp") / "qmp"
    with Machine(
        files=files, disks=disks, memory="768M", arguments=["-qmp", f"unix:{monitor},server=on,wait=off"]
    ) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        names = "".join(f"{name}=/dev/disk/by-id/virtio-{name}\n" for name in DISKS)
        machine.run(names + SETUP, timeout=120)
        machine.run(names + IN_NAMESPACE)
        for name in ("ext4", "xfs", "btrfs", "first", "lvm", "overlay"):
            machine.run(
                f"setsid --fork python3 {WRITER} /m/{name}/log /run/acked-{name} > /dev/null 2>&1 < /dev/null"
            )
        wait_for(lambda: machine.run("ls /run/acked-* | wc -l").text == "7")
        machine.monitor_path = monitor  # type: ignore[attr-defined]
        yield machine


@pytest.fixture
def client(machine: Machine) -> Iterator[LineClient]:
    with LineClient.connect(machine.socket(AGENT_PORT)) as client:
        client.sync()
        yield client


def image(machine: Machine, name: str) -> Path:
    return machine.directory / f"disk{list(DISKS).index(name)}.raw"


def copy_all(machine: Machine, target: Path) -> dict[str, Path]:
    """Copy all disks, on the host."""
    target.mkdir()
    for name in DISKS:
        subprocess.run(["cp", "--sparse=always", image(machine, name), target / name], check=True)
    with (target / "lvm").open("rb") as file:
        file.seek(LVM_START)
        (target / "lvm-data").write_bytes(file.read())
    return {name: target / name for name in (*DISKS, "lvm-data")}


def problems(copies: dict[str, Path]) -> list[str]:
    """Return what filesystem checks find in copies of disks."""
    found = []
    for name in ("ext4", "lvm-data", "namespace"):
        header = subprocess.run(["dumpe2fs", "-h", copies[name]], capture_output=True, text=True, check=True).stdout
        if "needs_recovery" in header:
            found.append(f"{name}: needs_recovery")
    checks = {
        "ext4": ["e2fsck", "-f", "-n"],
        "lvm-data": ["e2fsck", "-f", "-n"],
        "namespace": ["e2fsck", "-f", "-n"],
        "btrfs": ["btrfs", "check", "--readonly"],
    }
    for name, words in checks.items():
        result = subprocess.run([*words, copies[name]], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            found.append(f"{name}: {words[0]}: {result.stdout[-300:]} {result.stderr[-300:]}")
    return found


def numbers(copy: Path, path: str) -> list[int]:
    """Return the numbers that a writer had written to an ext4 filesystem."""
    text = subprocess.run(["debugfs", "-R", f"cat {path}", copy], capture_output=True, check=True).stdout
    return [int(line) for line in text.split()]


def acknowledged(machine: Machine) -> dict[str, int]:
    lines = machine.run("cd /run; grep -H '' -a acked-*").text.splitlines()
    return {line.partition(":")[0].removeprefix("acked-"): int(line.partition(":")[2].strip("\0")) for line in lines}


def test_copies_made_while_frozen_need_no_recovery(machine: Machine, client: LineClient, tmp_path: Path) -> None:
    freeze = client.call("fs-freeze", timeout=120, details=True)
    try:
        copies = copy_all(machine, tmp_path / "frozen")
        # The shell of the lab writes to no disk.
        before = acknowledged(machine)
        time.sleep(0.5)
        assert acknowledged(machine) == before
    finally:
        assert client.call("fs-unfreeze", generation=freeze["generation"]) is True
    points = [point.partition(" ")[0] for point in freeze["filesystems"]]
    assert sorted(points) == ["/", "/m/bind", "/m/btrfs", "/m/first", "/m/lvm", "/m/namespace", "/m/xfs"]
    assert problems(copies) == []
    for name, copy, path in (
        ("ext4", "ext4", "/log"),
        ("lvm", "lvm-data", "/log"),
        ("overlay", "lvm-data", "/upper/log"),
        ("namespace", "namespace", "/log"),
    ):
        found = numbers(copies[copy], path)
        assert found == list(range(1, len(found) + 1)), name
        # Acknowledged, or written and not acknowledged yet.
        assert found[-1] in (before[name], before[name] + 1), name
    wait_for(lambda: all(number > before[name] for name, number in acknowledged(machine).items()))


def test_copies_made_without_a_freeze_need_recovery(machine: Machine, tmp_path: Path) -> None:
    found = problems(copy_all(machine, tmp_path / "running"))
    assert {"ext4: needs_recovery", "lvm-data: needs_recovery", "namespace: needs_recovery"} <= set(found)


def test_everything_answers_while_frozen_without_a_page_cache(machine: Machine, client: LineClient) -> None:
    generation = client.call("fs-freeze", timeout=120, details=True)["generation"]
    # Clean pages only: those of programs, too.
    machine.run("echo 1 > /proc/sys/vm/drop_caches")
    assert client.call("ping")
    assert client.call("get-freeze-status", details=True)["frozen"] is True
    assert client.call("fs-unfreeze", generation=generation) is True


def test_a_suspended_device_fails_the_freeze_and_the_others_are_thawed(machine: Machine, client: LineClient) -> None:
    machine.run("dmsetup suspend --noflush --nolockfs backup-data")
    try:
        client.send(json.dumps({"execute": "fs-freeze", "tag": 1}).encode() + b"\n")
        # It answers all along.
        while True:
            client.send(json.dumps({"execute": "ping", "tag": 2}).encode() + b"\n")
            answer = client.answer()
            if answer["tag"] == 1:
                break
            time.sleep(0.5)
        assert "cannot freeze /m/lvm: its device does not answer" in json.dumps(answer)
        machine.run("touch /m/ext4/thawed /m/xfs/thawed && sync /m/ext4/thawed", timeout=60)
    finally:
        machine.run("dmsetup resume backup-data")


def phoenixctl(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    endpoint = f"unix:{machine.socket(AGENT_PORT)}"
    line = command_line(*(word.replace("GUEST", endpoint) for word in words))
    return subprocess.run(line, capture_output=True, text=True, env=environment(), check=False, timeout=300)


def monitor(machine: Machine) -> str:
    return str(machine.monitor_path)  # type: ignore[attr-defined]


def active_files(machine: Machine) -> dict[str, str]:
    """Return the file that each disk writes to."""
    return {block["device"]: block["inserted"]["file"] for block in machine.qmp("query-block") if "inserted" in block}


def test_snapshots_by_qemu_are_consistent_and_a_bad_one_is_removed(machine: Machine, tmp_path: Path) -> None:
    words = ("snapshot", "--qmp", monitor(machine), "--disk", "disk0", "--disk", "disk6")
    before = active_files(machine)
    result = phoenixctl(machine, "--json", *words, "--external", str(tmp_path), "--name", "one", "GUEST")
    assert result.returncode == 0, result.stderr
    manifest = json.loads(result.stdout)
    assert manifest["verdict"] == "consistent"
    (guest,) = manifest["guests"].values()
    print(f"writers stood still for {guest['blocked']} ms")
    assert {each["disk"] for each in guest["disks"]} == {"disk0", "disk6"}
    assert json.loads((tmp_path / "one.json").read_text())["verdict"] == "consistent"
    # The base files do not change any more.
    for name in ("ext4", "namespace"):
        copy = tmp_path / name
        shutil.copyfile(image(machine, name), copy)
        assert subprocess.run(["e2fsck", "-f", "-n", copy], capture_output=True, check=False).returncode == 0
        found = numbers(copy, "/log")
        assert found == list(range(1, len(found) + 1))
    during = active_files(machine)
    assert all(during[disk] == str(tmp_path / f"one-port-{AGENT_PORT}-{disk}.qcow2") for disk in ("disk0", "disk6"))

    # A freeze that ends too early.
    class Slow(QemuDisks):
        async def snapshot(self) -> None:
            await super().snapshot()
            await asyncio.sleep(3)

    async def slow() -> None:
        kind = Kind(EXTERNAL, "two", tmp_path, disks=("disk0", "disk6"))
        control = Slow(await Qmp.connect(monitor(machine)), "slow", kind)
        try:
            async with connect(f"unix:{machine.socket(AGENT_PORT)}") as guest:
                await Snapshots(kind, [GuestSnapshot("slow", guest, control)], auto_thaw=1).take()
        finally:
            await control.close()

    with pytest.raises(FreezeNotHeldError, match="its time limit was reached"):
        asyncio.run(slow())
    assert active_files(machine) == during
    assert not list(tmp_path.glob("*two*"))
    assert set(before) == set(during)


def test_backups_by_qemu_are_incremental_with_a_bitmap(machine: Machine, tmp_path: Path) -> None:
    words = ("snapshot", "--qmp", monitor(machine), "--disk", "disk2", "--backup", str(tmp_path), "--bitmap", "daily")
    for name, incremental in (("full", False), ("more", True)):
        result = phoenixctl(machine, "--json", *words, "--name", name, "GUEST")
        assert result.returncode == 0, result.stderr
        (guest,) = json.loads(result.stdout)["guests"].values()
        (disk,) = guest["disks"]
        assert disk["incremental"] is incremental
    # As docs/backup.md says.
    full, more = (next(tmp_path.glob(f"{name}-*.qcow2")) for name in ("full", "more"))
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", full, more], check=True)
    for path in (full, more):
        raw = tmp_path / f"{path.stem}.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
        result = subprocess.run(["btrfs", "check", "--readonly", raw], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert machine.qmp("query-block-jobs") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--internal", "--disk", "disk0"], "raw images have no internal snapshots"),
        (["--internal", "--disk", "nothing"], "has no writable disk 'nothing'"),
    ],
)
def test_what_the_disks_cannot_do_is_told_before_the_freeze(machine: Machine, words: list[str], told: str) -> None:
    result = phoenixctl(machine, "snapshot", "--qmp", monitor(machine), *words, "GUEST")
    assert result.returncode == 1
    assert told in result.stderr


def test_frozen_passes_the_status_on_and_tells_when_the_freeze_did_not_hold(machine: Machine) -> None:
    assert phoenixctl(machine, "frozen", "GUEST", "--", "sh", "-c", "exit 4").returncode == 4
    result = phoenixctl(machine, "frozen", "--auto-thaw", "1", "GUEST", "--", "sleep", "4")
    assert result.returncode == 123
    assert "its time limit was reached, so the agent thawed, at " in result.stderr
