"""Waiting and events in a real guest, by their real causes: hot-plug, a kernel that kills, a failing filesystem."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lab.disks import make_image
from lab.machine import Machine
from tests.ends.client import LineClient
from tests.ends.told import Subscription, Wait

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]


def wake_ups(guest: Machine, pid: int) -> int:
    """Return how often the agent has gone to sleep so far. systemctl(1) would make systemd send signals."""
    text = guest.run(f"grep -h ^voluntary /proc/{pid}/task/*/status").text
    return sum(int(line.split()[1]) for line in text.splitlines())


def test_the_guest_is_waited_for(guest: Machine, client: LineClient) -> None:
    wait = Wait(client, "boot-complete", "unit=late", "path=/run/late", "address,cidr=192.0.2.0/24")
    index, found = wait.next() or (-1, "")
    assert index == 0
    assert found in ("running", "degraded")
    guest.run("systemd-run --unit late -p RemainAfterExit=yes touch /run/late")
    told = {wait.next(), wait.next()}
    assert told == {(1, "late.service"), (2, "/run/late")}
    guest.run("ip address add 192.0.2.77/24 dev eth0")
    assert (wait.next(), wait.next()) == ((3, "192.0.2.77"), None)
    guest.run("ip address del 192.0.2.77/24 dev eth0; systemctl stop late; rm /run/late")


def test_events_are_told_by_their_causes(guest: Machine, client: LineClient, tmp_path: Path) -> None:
    events = Subscription(client)
    assert events.answer["unavailable"] == []
    disk = tmp_path / "disk"
    make_image(disk, "raw", size="64M")
    guest.qmp("blockdev-add", driver="file", **{"node-name": "plugged", "filename": str(disk)})
    guest.qmp("device_add", driver="virtio-blk-pci", drive="plugged", id="plugged", serial="plugged")
    name = events.until("DEVICE_ADDED", kind="disk")["name"]
    guest.qmp("block_resize", **{"node-name": "plugged", "size": 128 << 20})
    assert events.until("DEVICE_CHANGED", kind="disk", action="resize")["name"] == name

    guest.run(f"mkfs.ext4 -q /dev/{name} && mkdir -p /mnt/plugged")
    guest.run(f"mount -o errors=remount-ro /dev/{name} /mnt/plugged")
    told = {"mountpoint": "/mnt/plugged", "type": "ext4", "source": f"/dev/{name}"}
    events.until("MOUNTED", **told, read_only=False)
    guest.run(f"echo broken > /sys/fs/ext4/{name}/trigger_fs_error")
    events.until("REMOUNTED", **told, read_only=True)
    guest.run("umount /mnt/plugged")
    events.until("UNMOUNTED", **told)
    guest.qmp("device_del", id="plugged")
    events.until("DEVICE_REMOVED", kind="disk", name=name)

    guest.run("ip address add 192.0.2.78/24 dev eth0")
    events.until("ADDRESS_ADDED", ifname="eth0", ip="192.0.2.78/24")
    guest.run("ip address del 192.0.2.78/24 dev eth0")

    hungry = "systemd-run --wait --unit hungry -p MemoryMax=16M -p MemorySwapMax=0 sh -c 'tail /dev/zero'"
    guest.run(hungry, check=False, timeout=120)
    killed = events.until("OOM_KILL", constraint="cgroup")
    assert (killed["name"], killed["uid"], killed["cgroup"]) == ("tail", 0, "/system.slice/hungry.service")

    guest.run("systemctl stop systemd-timesyncd", check=False)
    guest.run('date -s "@$(($(date +%s) + 3600))"')
    jumped = events.until("TIME_JUMPED")["offset"]
    guest.run('date -s "@$(($(date +%s) - 3600))"')
    assert 3_500_000 < jumped < 3_700_000
    assert -3_700_000 < events.until("TIME_JUMPED")["offset"] < -3_500_000


def test_a_freeze_is_told_with_who_asked_for_it(client: LineClient) -> None:
    def ask(events: int, command: str, **arguments: object) -> list[dict[str, Any]]:
        """Run a command; return the events that are told meanwhile."""
        client.ask(command, command, **arguments)
        text = b""
        answers: list[Any] = []
        while len(answers) < 1 or text.count(b"\n") < events:
            unit = client.whole_unit()
            if isinstance(unit, bytes):
                answers.append(json.loads(unit))
            else:
                text += unit.payload
        assert answers[0]["return"]
        return [json.loads(line) for line in text.splitlines()]

    Subscription(client, "FROZEN", "THAWED")
    (frozen,) = ask(1, "fs-freeze", timeout=0)
    assert "/" in frozen["data"]["mountpoints"]
    assert frozen["data"]["by"].endswith("org.guest-agent.0")
    (thawed,) = ask(1, "fs-unfreeze")
    assert thawed["data"] == {
        "generation": frozen["data"]["generation"],
        "by": frozen["data"]["by"],
        "ended": "thawed",
    }
    told = ask(2, "fs-freeze", timeout=1)
    assert [(event["event"], event["data"]["by"]) for event in told] == [
        ("FROZEN", frozen["data"]["by"]),
        ("THAWED", "deadline"),
    ]


def test_waits_and_subscriptions_wake_nothing(guest: Machine, client: LineClient) -> None:
    pid = int(guest.run("systemctl show -p MainPID --value phoenix-ga").text)
    # Only what others of the guest do is told: the log of the kernel and PSI are quiet as well.
    Subscription(client)
    Wait(client, *(f"address,cidr=10.0.{number}.0/24" for number in range(100)), "path=/never/there")
    before = -1
    deadline = time.monotonic() + 300
    while before != (before := wake_ups(guest, pid)):
        assert time.monotonic() < deadline, "the guest does not come to rest"
        time.sleep(5)
