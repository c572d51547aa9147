"""Disks and filesystems of every kind that a guest has, as qemu-ga, lsblk and findmnt see them, and frozen."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

THEIRS = "org.qemu.guest_agent.0"
OURS = "org.phoenix.compare.0"
NVME = 4
DISKS = [
    DiskSpec(size="64M"),
    DiskSpec(size="256M"),
    DiskSpec(size="128M", bus="scsi"),
    DiskSpec(size="128M", bus="scsi"),
    DiskSpec(size="64M", bus="nvme"),
    DiskSpec(size="128M", serial="locked"),
    DiskSpec(size="64M", bus="ide"),
]
SETUP = """set -e
modprobe btrfs
cd /mnt
mkdir plain part volume btrfs subvolume ide nvme locked loop bind
printf 'label: gpt\\n,128M\\n,\\n' | sfdisk -q /dev/vdc
udevadm settle
pvcreate -q -y /dev/vdc1; vgcreate -q group /dev/vdc1; lvcreate -q -y -n data -L 64M group
mkfs.btrfs -q -d raid1 -m raid1 /dev/sda /dev/sdb
for device in vdb vdc2 group/data nvme0n1 sdc; do mkfs.ext4 -q /dev/$device; done
echo -n secret | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vdd -
echo -n secret | cryptsetup open /dev/vdd secret -
mkfs.ext4 -q /dev/mapper/secret
truncate -s 32M /var/tmp/loop.img; mkfs.ext4 -q /var/tmp/loop.img
mount /dev/vdb plain; mount /dev/vdc2 part; mount /dev/group/data volume
mount /dev/sda btrfs; btrfs -q subvolume create btrfs/one; mount -o subvol=one /dev/sdb subvolume
mount /dev/sdc ide; mount /dev/nvme0n1 nvme; mount /dev/mapper/secret locked
mount -o loop /var/tmp/loop.img loop
mount --bind plain bind
sync; udevadm settle
"""
# Mount point -> the disks that its filesystem is on.
CARRIERS = {
    "/": ["/dev/vda"],
    "/mnt/plain": ["/dev/vdb"],
    "/mnt/part": ["/dev/vdc2"],
    "/mnt/volume": ["/dev/vdc1"],
    "/mnt/btrfs": ["/dev/sda", "/dev/sdb"],
    "/mnt/subvolume": ["/dev/sda", "/dev/sdb"],
    "/mnt/ide": ["/dev/sdc"],
    "/mnt/nvme": ["/dev/nvme0n1"],
    "/mnt/locked": ["/dev/vdd"],
    "/mnt/loop": [],
    "/mnt/bind": ["/dev/vdb"],
}
# They show what other mounts show, too: of several, the one with the shortest path stands for the filesystem.
AGAIN = ["/mnt/plain", "/mnt/subvolume"]
COUNT = len(CARRIERS) - len(AGAIN)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files["/usr/sbin/phoenix-qemu-ga"] = files["/usr/sbin/phoenix-ga"]
    with Machine(files=files, ports=[THEIRS, OURS], disks=DISKS) as machine:
        machine.run("systemctl stop phoenix-ga && systemctl start qemu-guest-agent")
        machine.run(SETUP, timeout=120)
        machine.run(f"mkdir -p /run/ours && systemd-run -q phoenix-qemu-ga -t /run/ours -p /dev/virtio-ports/{OURS}")
        yield machine


@pytest.fixture(scope="module")
def clients(machine: Machine) -> Iterator[tuple[LineClient, LineClient]]:
    """Of ours and of theirs."""
    with LineClient.connect(machine.socket(OURS)) as ours, LineClient.connect(machine.socket(THEIRS)) as theirs:
        yield ours, theirs


@pytest.fixture
def ours(clients: tuple[LineClient, LineClient]) -> LineClient:
    return clients[0]


def ask(client: LineClient, execute: str, **arguments: object) -> dict[str, Any]:
    client.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
    return client.answer()


def both(clients: tuple[LineClient, LineClient], execute: str) -> tuple[Any, Any]:
    return ask(clients[0], execute)["return"], ask(clients[1], execute)["return"]


def devices(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return what lsblk shows, by path."""
    found: dict[str, dict[str, Any]] = {}
    pending = json.loads(machine.run("lsblk --json --output-all --bytes").text)["blockdevices"]
    while pending:
        device = pending.pop()
        pending += device.get("children", [])
        known = found.setdefault("/dev/" + device["kname"], {**device, "parents": set()})
        if device["pkname"]:
            known["parents"].add("/dev/" + device["pkname"])
    return found


def test_filesystems_are_those_of_qemu_ga_with_all_disks_and_their_right_places(
    clients: tuple[LineClient, LineClient], machine: Machine
) -> None:
    mine, reference = both(clients, "guest-get-fsinfo")
    reference = [each for each in reference if each["mountpoint"] not in AGAIN]
    assert [each["mountpoint"] for each in mine] == [each["mountpoint"] for each in reference]
    carriers = {point: disks for point, disks in CARRIERS.items() if point not in AGAIN}
    assert {each["mountpoint"]: [disk["dev"] for disk in each["disk"]] for each in mine} == carriers
    shown = devices(machine)
    for each, theirs in zip(mine, reference):
        assert each.pop("total-bytes-privileged") >= each["total-bytes"]
        for disk in each["disk"]:
            host_channel_target_unit = shown[disk["dev"]]["hctl"]
            if disk["bus-type"] == "scsi":
                # qemu-ga takes every target for 0.
                expected = [int(part) for part in host_channel_target_unit.split(":")][1:]
                assert [disk["bus"], disk["target"], disk["unit"]] == expected
                disk["target"] = 0
        # Of the several devices of a btrfs qemu-ga shows one.
        del each["disk"][1:]
        assert each == theirs


def test_sizes_are_those_that_findmnt_shows(ours: LineClient, machine: Machine) -> None:
    output = machine.run("findmnt --json --bytes --real --list --output TARGET,FSTYPE,SIZE,USED,AVAIL").text
    shown = {each["target"]: each for each in json.loads(output)["filesystems"]}
    filesystems = ask(ours, "guest-get-fsinfo")["return"]
    assert {each["mountpoint"] for each in filesystems} <= set(shown)
    for each in filesystems:
        expected = shown[each["mountpoint"]]
        assert each["type"] == expected["fstype"]
        assert each["total-bytes-privileged"] == int(expected["size"])
        if each["mountpoint"] != "/":
            assert each["used-bytes"] == int(expected["used"])
            assert each["total-bytes"] == int(expected["used"]) + int(expected["avail"])


def test_disks_are_those_of_qemu_ga_and_of_lsblk(clients: tuple[LineClient, LineClient], machine: Machine) -> None:
    mine, reference = both(clients, "guest-get-disks")
    known = {each["name"]: each for each in reference}
    shown = devices(machine)
    assert {each["name"] for each in mine} == set(known)
    for each in mine:
        device = shown[each["name"]]
        assert each["partition"] is (device["type"] == "part")
        assert set(each["dependencies"]) == device["parents"]
        assert each.get("alias") == (device["name"] if device["type"] in ("lvm", "crypt") else None)
        address = each.get("address")
        assert (address is None) is (device["type"] not in ("disk", "rom"))
        if address is not None:
            assert device["serial"] in address["serial"]
            if address["bus-type"] == "scsi":
                address["target"] = 0
        assert each == known[each["name"]]


def test_what_the_kernel_counts_is_what_qemu_ga_shows(clients: tuple[LineClient, LineClient]) -> None:
    def same() -> bool:
        # The root may be used meanwhile.
        mine, reference = both(clients, "guest-get-diskstats")
        return bool(mine == reference)

    wait_for(same)


def test_a_trim_gives_the_blocks_back_once_for_each_filesystem(ours: LineClient, machine: Machine) -> None:
    image = machine.directory / f"disk{NVME}.raw"
    machine.run("head -c 20M /dev/urandom > /mnt/nvme/big; sync")
    full = blocks(image)
    machine.run("rm /mnt/nvme/big; sync")
    paths = {each["path"]: each for each in ask(ours, "guest-fstrim", minimum=4096)["return"]["paths"]}
    assert full - blocks(image) > 15 * 1024 * 1024
    assert len(paths) == COUNT
    assert paths["/mnt/nvme"]["trimmed"] > 20 * 1024 * 1024
    assert paths["/mnt/nvme"]["minimum"] == 4096
    assert paths["/mnt/locked"] == {"path": "/mnt/locked", "error": "trim not supported"}
    (invalid,) = (
        each for each in ask(ours, "guest-fstrim", minimum=-1)["return"]["paths"] if each["path"] == "/mnt/nvme"
    )
    assert invalid == {"path": "/mnt/nvme", "error": "failed to trim: Invalid argument"}


def blocks(image: Path) -> int:
    """Return how many bytes of the host's disk a file takes."""
    return image.stat().st_blocks * 512


@contextlib.contextmanager
def thawed_at_the_end(client: LineClient) -> Iterator[None]:
    try:
        yield
    finally:
        ask(client, "guest-fsfreeze-thaw")


def start_writers(machine: Machine, *places: str) -> None:
    scripts = (f"rm -f /run/done-{each}; echo x > /mnt/{each}/written; touch /run/done-{each}" for each in places)
    machine.run("; ".join(f"setsid --fork sh -c '{each}' > /dev/null 2>&1 < /dev/null" for each in scripts))


def wait_until_written(machine: Machine, *places: str) -> None:
    for place in places:
        machine.run(f"until test -e /run/done-{place}; do sleep 0.05; done", timeout=60)


def test_a_freeze_of_some_mount_points_freezes_what_is_there(ours: LineClient, machine: Machine) -> None:
    assert ask(ours, "guest-fsfreeze-freeze-list", mountpoints=["/mnt/nowhere", "/mnt"]) == {"return": 0}
    assert ask(ours, "guest-fsfreeze-freeze-list", mountpoints=[]) == {"return": 0}
    assert ask(ours, "guest-fsfreeze-status") == {"return": "thawed"}
    # Three mount points, one of them unknown, of three filesystems, one of them by two names.
    points = ["/mnt/bind", "/mnt/plain", "/mnt/subvolume", "/mnt/locked", "/mnt/nowhere"]
    with thawed_at_the_end(ours):
        assert ask(ours, "guest-fsfreeze-freeze-list", mountpoints=points) == {"return": 3}
        assert ask(ours, "guest-fsfreeze-status") == {"return": "frozen"}
        for command in ("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-get-fsinfo", "guest-fstrim"):
            text = f"Command {command} has been disabled: the agent is in frozen state"
            assert ask(ours, command)["error"] == {"class": "CommandNotFound", "desc": text}
        commands = {each["name"]: each["enabled"] for each in ask(ours, "guest-info")["return"]["supported_commands"]}
        assert commands["guest-fsfreeze-thaw"]
        assert not commands["guest-fsfreeze-freeze"]
        start_writers(machine, "plain", "btrfs", "locked", "nvme")
        wait_until_written(machine, "nvme")
        time.sleep(0.5)
        assert machine.run("ls /run/done-*").text == "/run/done-nvme"
        assert ask(ours, "guest-fsfreeze-thaw") == {"return": 3}
    wait_until_written(machine, "plain", "btrfs", "locked")
    assert ask(ours, "guest-fsfreeze-status") == {"return": "thawed"}
    assert ask(ours, "guest-fsfreeze-thaw") == {"return": 0}


@pytest.mark.parametrize("command", ["guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"])
def test_a_freeze_of_all_says_how_many(ours: LineClient, command: str) -> None:
    with thawed_at_the_end(ours):
        assert ask(ours, command) == {"return": COUNT}
        assert ask(ours, "guest-ping") == {"return": {}}
        assert ask(ours, "guest-fsfreeze-thaw") == {"return": COUNT}


def test_what_somebody_else_has_frozen_is_not_counted_and_stays_frozen(ours: LineClient, machine: Machine) -> None:
    machine.run("fsfreeze --freeze /mnt/part")
    try:
        with thawed_at_the_end(ours):
            only = ask(ours, "guest-fsfreeze-freeze-list", mountpoints=["/mnt/part"])
            assert only == {"return": 0}
            assert ask(ours, "guest-fsfreeze-status") == {"return": "thawed"}
            assert ask(ours, "guest-fsfreeze-freeze-list", mountpoints=["/mnt/part", "/mnt/ide"]) == {"return": 1}
            assert ask(ours, "guest-fsfreeze-thaw") == {"return": 1}
    finally:
        # Fails where it is frozen no more.
        machine.run("fsfreeze --unfreeze /mnt/part")


def test_a_freeze_that_fails_leaves_nothing_frozen(ours: LineClient, machine: Machine) -> None:
    # Where a disk that was mounted before others breaks, the others are frozen already. It stays broken.
    sectors = machine.run("blockdev --getsz /dev/mapper/group-data").text.strip()
    machine.run("dmsetup suspend --noflush --nolockfs group-data")
    machine.run(f"dmsetup load group-data --table '0 {sectors} error' && dmsetup resume group-data")
    machine.run("head -c 1M /dev/urandom > /mnt/volume/dirty", check=False)
    with thawed_at_the_end(ours):
        error = ask(ours, "guest-fsfreeze-freeze")["error"]
        assert error["class"] == "GenericError"
        assert error["desc"].startswith("cannot freeze /mnt/volume: ")
        assert error["desc"].endswith("; what was frozen has been thawed")
        assert ask(ours, "guest-fsfreeze-status") == {"return": "thawed"}
        start_writers(machine, "nvme", "plain", "locked")
        wait_until_written(machine, "nvme", "plain", "locked")
        assert ask(ours, "guest-fsfreeze-thaw") == {"return": 0}
