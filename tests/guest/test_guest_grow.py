"""`phoenixctl grow` after QMP's block_resize: real partitions, LVM, LUKS and filesystems."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from lab.machine import Machine
from tests.cli.conftest import command_line, environment

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

_MIB: Final = 1 << 20
_BEFORE, _AFTER = 400 * _MIB, 640 * _MIB
# The smallest disk of the other tests.
_REST: Final = 64 * _MIB
PASSPHRASE: Final = "correct horse"
_FORMAT: Final = f"printf '{PASSPHRASE}' | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 -d -"
_UNLOCK: Final = f"printf '{PASSPHRASE}' | cryptsetup open -d -"
_VOLUME: Final = "vgcreate -qq grown {} && lvcreate -qqy -l 100%FREE -n data grown"
# What makes the device for a filesystem of /dev/vdc, that device, and the layers that grow.
LAYOUTS: Final = {
    "disk": ("true", "/dev/vdc", []),
    "gpt": ("printf 'label: gpt\\n,16M\\n,\\n' | sfdisk -q /dev/vdc", "/dev/vdc2", ["partition"]),
    "mbr": ("printf 'label: dos\\n,16M\\n,\\n' | sfdisk -q /dev/vdc", "/dev/vdc2", ["partition"]),
    "lvm": (
        f"printf 'label: gpt\\n,\\n' | sfdisk -q /dev/vdc && udevadm settle && {_VOLUME.format('/dev/vdc1')}",
        "/dev/grown/data",
        ["partition", "physical volume", "logical volume"],
    ),
    "luks": (
        f"printf 'label: gpt\\n,\\n' | sfdisk -q /dev/vdc && udevadm settle && {_FORMAT} /dev/vdc1 && "
        f"{_UNLOCK} /dev/vdc1 locked",
        "/dev/mapper/locked",
        ["partition", "luks"],
    ),
    "luks-lvm": (
        f"printf 'label: gpt\\n,\\n' | sfdisk -q /dev/vdc && udevadm settle && {_FORMAT} /dev/vdc1 && "
        f"{_UNLOCK} /dev/vdc1 locked && {_VOLUME.format('/dev/mapper/locked')}",
        "/dev/grown/data",
        ["partition", "luks", "physical volume", "logical volume"],
    ),
}
CASES = [(layout, kind) for layout in LAYOUTS for kind in ("ext4", "xfs", "btrfs")]


class Grower:
    """The disk /dev/vdc of the guest, and phoenixctl."""

    def __init__(self, guest: Machine, port: Path) -> None:
        self.guest = guest
        self.port = port

    def resize(self, size: int) -> None:
        self.guest.qmp("block_resize", device="disk1", size=size)

    def clear(self) -> None:
        """Take down whatever is on the disk."""
        self.guest.run(
            "umount /mnt/grown* 2>/dev/null; vgchange -qq -an grown; cryptsetup close locked; wipefs -qaf /dev/vdc?; "
            "wipefs -qaf /dev/vdc; dd if=/dev/zero of=/dev/vdc bs=1M count=32 2>/dev/null; "
            "partx -d /dev/vdc; udevadm settle",
            check=False,
            timeout=120,
        )

    def make(self, layout: str, kind: str) -> None:
        setup, device, _ = LAYOUTS[layout]
        self.guest.run(f"{setup} && udevadm settle && mkfs.{kind} -q {device}", timeout=180)
        self.guest.run(f"mkdir -p /mnt/grown && mount {device} /mnt/grown && echo kept > /mnt/grown/file")

    def grow(self, *words: str, status: int = 0, passphrase: str = "") -> dict[str, Any]:
        given = ["--stdin"] if passphrase else []
        result = subprocess.run(
            command_line("--json", "grow", *given, str(self.port), *words),
            input=passphrase,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=300,
        )
        assert result.returncode == status, (result.stdout, result.stderr)
        value: dict[str, Any] = json.loads(result.stdout)
        return value

    def table(self) -> str:
        return self.guest.run("sfdisk -d /dev/vdc; lsblk -bno NAME,SIZE /dev/vdc").text


@pytest.fixture
def grower(guest: Machine, port: Path) -> Iterator[Grower]:
    grower = Grower(guest, port)
    grower.resize(_BEFORE)
    grower.clear()
    yield grower
    grower.clear()
    grower.resize(_REST)


@pytest.mark.parametrize(
    ("layout", "kind"),
    [case if case == ("luks-lvm", "ext4") else pytest.param(*case, marks=pytest.mark.soak) for case in CASES],
)
def test_what_is_on_an_enlarged_disk_grows(grower: Grower, layout: str, kind: str) -> None:
    grower.make(layout, kind)
    assert grower.grow("/mnt/grown")["steps"] == []
    grower.resize(_AFTER)
    locked = layout.startswith("luks")
    before = grower.table()
    plan = grower.grow("/mnt/grown", "--dry-run")
    layers = [*LAYOUTS[layout][2], "filesystem"]
    assert [step["layer"] for step in plan["steps"]] == layers
    assert plan["locked"] == (["/dev/vdc1"] if locked else [])
    if locked:
        refused = [grower.grow("/mnt/grown", status=1)["refused"]]
        refused.append(grower.grow("/mnt/grown", status=1, passphrase="wrong")["refused"])
        assert "its passphrase is needed" in refused[0]
        assert "does not open /dev/vdc1" in refused[1]
    assert grower.table() == before
    # By the mount point, and by the disk.
    target = "vdc" if kind == "ext4" else "/mnt/grown"
    grown = grower.grow(target, passphrase=PASSPHRASE if locked else "")
    assert [(step["layer"], step["done"]) for step in grown["steps"]] == [(layer, True) for layer in layers]
    assert [step["after"] for step in grown["steps"]] == [
        pytest.approx(step["after"], abs=5 * _MIB) for step in plan["steps"]
    ]
    assert grown["steps"][-1]["after"] > _AFTER - 40 * _MIB
    blocks, unit = map(int, grower.guest.run("stat -fc '%b %S' /mnt/grown").text.split())
    assert blocks * unit > _AFTER - 160 * _MIB
    assert grower.guest.run("cat /mnt/grown/file").text == "kept"
    assert grower.grow("/mnt/grown")["steps"] == []


def test_what_cannot_grow_safely_is_refused_and_left_alone(grower: Grower) -> None:
    grower.guest.run(
        "printf 'label: gpt\\n,200M\\n,\\n' | sfdisk -q /dev/vdc && udevadm settle && mkfs.ext4 -q /dev/vdc1"
    )
    grower.guest.run("mkdir -p /mnt/grown && mount /dev/vdc1 /mnt/grown")
    grower.resize(_AFTER)
    # The host may have died after the first of the two commands for a partition; repeating it goes on from there.
    grower.guest.run("echo ', +' | sfdisk -q --no-reread --no-tell-kernel -N 2 /dev/vdc")
    before = grower.table()
    assert "/dev/vdc1 is not the last partition" in grower.grow("/mnt/grown", status=1)["refused"]
    assert "no mounted filesystem is on the end of vdc" in grower.grow("vdc", status=1)["refused"]
    grower.guest.run("mkfs.ext4 -q /dev/vdc2 && mkdir -p /mnt/grown2 && mount /dev/vdc2 /mnt/grown2")
    grower.guest.run("mv /usr/sbin/resize2fs /usr/sbin/moved")
    try:
        assert "install its package e2fsprogs" in grower.grow("vdc", status=1)["refused"]
    finally:
        grower.guest.run("mv /usr/sbin/moved /usr/sbin/resize2fs")
    assert grower.table() == before
    assert [(step["layer"], step["done"]) for step in grower.grow("vdc")["steps"]] == [
        ("partition", True),
        ("filesystem", True),
    ]
    grower.guest.run("mount -o remount,ro /mnt/grown2")
    assert "is read-only" in grower.grow("vdc", status=1)["refused"]
