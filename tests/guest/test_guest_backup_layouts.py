"""Copies of disks with the layouts that servers have, made while frozen, and checked in another guest, read-only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests import disk_copies
from tests.disk_copies import copy
from tests.ends.client import LineClient
from tests.guest.backup_guest import (
    WRITER,
    acknowledged,
    settled,
    start_writer,
    wait_for_writers,
)
from tests.support import wait_for
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.timeout(2400)]

# Disk -> its size.
DISKS = {"lvm": "96M", "first": "128M", "second": "128M", "outer": "480M", "upper": "64M", "namespace": "64M"}
# mkfs.btrfs and losetup need devices that the modules make.
PREPARE = "modprobe -a btrfs loop && printf secret > /run/key"
SETUP = f"""set -e
cd /dev/disk/by-id; mkdir -p /m/lvm /m/btrfs /m/outer /m/luks /m/upper /m/overlay /m/bind /m/namespace; {PREPARE}
pvcreate -q $PWD/virtio-lvm; vgcreate -q backup $PWD/virtio-lvm; lvcreate -q -y -l 100%FREE -n data backup
mkfs.ext4 -q /dev/backup/data; mount /dev/backup/data /m/lvm
mkfs.btrfs -q virtio-first virtio-second; btrfs device scan; mount virtio-first /m/btrfs
mkfs.xfs -q virtio-outer; mount virtio-outer /m/outer; mkdir /m/outer/bound; mount --bind /m/outer/bound /m/bind
truncate -s 64M /m/outer/luks.img; losetup /dev/loop7 /m/outer/luks.img
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key /dev/loop7
cryptsetup open --key-file /run/key /dev/loop7 luks; mkfs.ext4 -q /dev/mapper/luks; mount /dev/mapper/luks /m/luks
mkfs.ext4 -q virtio-upper; mount virtio-upper /m/upper; mkdir /m/upper/upper /m/upper/work
mount -t overlay -o lowerdir=/etc,upperdir=/m/upper/upper,workdir=/m/upper/work none /m/overlay
mkfs.ext4 -q virtio-namespace
"""
# As in a container: the filesystem is mounted nowhere else.
IN_NAMESPACE = (
    "setsid --fork unshare --mount sh -c 'mount /dev/disk/by-id/virtio-namespace /m/namespace && "
    f"exec python3 -IS {WRITER} /m/namespace/log /run/acked-namespace' > /dev/null 2>&1 < /dev/null"
)
LOGS = {
    "lvm": "/m/lvm/log",
    "btrfs": "/m/btrfs/log",
    "bind": "/m/bind/log",
    "luks": "/m/luks/log",
    "overlay": "/m/overlay/log",
}
NAMES = {*LOGS, "namespace"}
EXT4 = "dumpe2fs -h {0} 2>&1 | (! grep needs_recovery) && e2fsck -fn {0}"
# In the guest that checks: what must succeed, in this order. Logs are read before anything is recovered.
CHECKS = (
    f"mkdir /m; cd /m; mkdir lvm btrfs outer luks upper namespace; {PREPARE}",
    "vgchange -q --activate y backup",
    EXT4.format("/dev/backup/data"),
    "mount -o ro,noload /dev/backup/data /m/lvm",
    "btrfs inspect-internal dump-super /dev/disk/by-id/virtio-first | grep -E '^log_root\\s+0$'",
    "btrfs device scan && btrfs check --readonly /dev/disk/by-id/virtio-first",
    "mount -o ro,rescue=nologreplay /dev/disk/by-id/virtio-first /m/btrfs",
    "mount -o ro,norecovery /dev/disk/by-id/virtio-outer /m/outer",
    "losetup --read-only /dev/loop7 /m/outer/luks.img",
    "cryptsetup open --readonly --key-file /run/key /dev/loop7 luks",
    EXT4.format("/dev/mapper/luks"),
    "mount -o ro,noload /dev/mapper/luks /m/luks",
    EXT4.format("/dev/disk/by-id/virtio-upper"),
    "mount -o ro,noload /dev/disk/by-id/virtio-upper /m/upper",
    EXT4.format("/dev/disk/by-id/virtio-namespace"),
    "mount -o ro,noload /dev/disk/by-id/virtio-namespace /m/namespace",
)
COPIED_LOGS = {
    "lvm": "/m/lvm/log",
    "btrfs": "/m/btrfs/log",
    "bind": "/m/outer/bound/log",
    "luks": "/m/luks/log",
    "overlay": "/m/upper/upper/log",
    "namespace": "/m/namespace/log",
}
# XFS has counters in its log, which a mount takes from it.
XFS = (
    "umount /m/luks && cryptsetup close luks && losetup --detach /dev/loop7 && umount /m/outer",
    "mount /dev/disk/by-id/virtio-outer /m/outer && umount /m/outer",
    "xfs_repair -n /dev/disk/by-id/virtio-outer",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files[WRITER] = disk_copies.WRITER
    disks = [DiskSpec(size=size, serial=name) for name, size in DISKS.items()]
    with Machine(files=files, disks=disks, memory="768M") as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        machine.run(SETUP, timeout=300)
        machine.run(IN_NAMESPACE)
        for name, log in LOGS.items():
            start_writer(machine, name, log)
        wait_for(lambda: acknowledged(machine).keys() == NAMES)
        yield machine


def check(copies: dict[str, Path], before: dict[str, int]) -> list[str]:
    """Return what is wrong with copies, in which these numbers were durable."""
    problems = []
    disks = [DiskSpec(path=path, serial=name) for name, path in copies.items()]
    with Machine(disks=disks, ports=[], memory="768M") as machine:
        for command in CHECKS:
            result = machine.run(command, timeout=300, check=False)
            if result.status != 0:
                problems.append(f"{command}: {result.text[-500:]}")
        for name, log in COPIED_LOGS.items():
            found = [int(line) for line in machine.run(f"cat {log}", check=False).text.split() if line.isdigit()]
            if found != list(range(1, len(found) + 1)) or len(found) < before[name]:
                problems.append(f"{name}: {before[name]} was durable, and there are {found[-3:]}")
        for command in XFS:
            result = machine.run(command, timeout=300, check=False)
            if result.status != 0:
                problems.append(f"{command}: {result.text[-500:]}")
    return problems


def copies(machine: Machine, directory: Path) -> dict[str, Path]:
    directory.mkdir()
    return {name: copy(machine.directory / f"disk{number}.raw", directory) for number, name in enumerate(DISKS)}


def test_copies_of_all_layouts_need_no_recovery(machine: Machine, tmp_path: Path) -> None:
    wait_for(lambda: all(number > 20 for number in acknowledged(machine).values()))
    before = acknowledged(machine)
    running = copies(machine, tmp_path / "running")
    with LineClient.connect(machine.socket(AGENT_PORT)) as client:
        client.socket.settimeout(120)
        client.sync()
        freeze = client.call("fs-freeze", timeout=600, details=True)
        try:
            durable = settled(machine)
            frozen = copies(machine, tmp_path / "frozen")
            assert settled(machine) == durable
        finally:
            assert client.call("fs-unfreeze", generation=freeze["generation"]) is True
    wait_for_writers(machine, durable)
    machine.close()
    assert check(frozen, durable) == []
    # Without a freeze they do, unless the kernel has just written a log back.
    problems = check(running, before)
    assert sum(any(problem.startswith(f"{name}:") for problem in problems) for name in COPIED_LOGS) > 3, problems
