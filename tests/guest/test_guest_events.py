"""Waiting and events in a real guest, by their real causes: hot-plug, a kernel that kills, a failing filesystem."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
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


def test_a_service_that_fails_is_told(guest: Machine, client: LineClient) -> None:
    events = Subscription(client, "SERVICE_FAILED")
    guest.run("systemd-run --unit dies -p RuntimeMaxSec=1 -p TimeoutStopSec=1 sh -c 'trap \"\" TERM; sleep 60'")
    died = events.next()["data"]
    assert (died["unit"], died["result"]) == ("dies.service", "timeout")
    restarted = "-p Restart=on-failure -p RestartSec=100ms -p StartLimitBurst=3"
    guest.run(f"systemd-run --unit fails {restarted} sh -c 'exit 7'")
    failed = events.next()["data"]
    assert failed == {"unit": "fails.service", "result": "exit-code", "status": 7, "signal": 0}
    # It is told once, although it was started three times.
    guest.run("systemd-run --wait --unit succeeds true; systemd-run --unit other false")
    assert events.next()["data"]["unit"] == "other.service"
    # systemd forgets all connections.
    guest.run("systemctl daemon-reexec", timeout=120)
    lost = events.next()
    assert (lost["event"], lost["data"]) == ("EVENTS_LOST", {"count": 0, "more": True})
    guest.run("systemd-run --unit again false")
    assert events.until("SERVICE_FAILED", unit="again.service")["result"] == "exit-code"
    guest.run("systemctl reset-failed")


def test_people_who_log_in_and_out_are_told(guest: Machine, client: LineClient) -> None:
    events = Subscription(client, "LOGIN", "LOGOUT")
    guest.run("(sleep 2; echo exit) | script -qc 'login -f root' /dev/null", timeout=120)
    login = events.until("LOGIN", user="root", host="")
    assert login["terminal"].startswith("pts/")
    # What sshd asks logind for, by pam_systemd(8). The session ends with the process that holds it.
    session = '"uusssssussbssa(sv)" 0 $$ sshd tty user "" "" 0 pts/7 "" true "" 192.0.2.1 0'
    bus = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
    guest.run(f"sh -c 'busctl call {bus} CreateSession {session}'")
    # login(1) leaves its entry in utmp to getty(8), which did not start it: it is looked at with the next change.
    assert events.until("LOGOUT") == login
    assert events.until("LOGIN") == {"user": "root", "terminal": "pts/7", "host": "192.0.2.1"}
    events.until("LOGOUT", terminal="pts/7")


def test_causes_are_told_at_once(guest: Machine, client: LineClient) -> None:
    """Print how long after its cause each is told; a loaded machine takes its time."""
    began = time.time()
    ahead = client.call("metrics")["time"] - (began + time.time()) / 2

    def caused(command: str) -> Callable[[], float]:
        """Run a command that prints when it brings something about, by the guest's clock."""
        results: list[float] = []
        thread = threading.Thread(target=lambda: results.append(float(guest.run(command).text.split()[0])))
        thread.start()

        def finish() -> float:
            thread.join()
            return results[0]

        return finish

    def late(name: str, finish: Callable[[], float]) -> None:
        told = time.time() + ahead
        seconds = told - finish()
        print(f"{name}: {seconds * 1000:.0f} ms")
        assert seconds < 30

    address = "(sleep 1; echo $EPOCHREALTIME >&2; echo address {} 192.0.2.79/24 dev eth0) | ip -batch - 2>&1"
    wait = Wait(client, "address,cidr=192.0.2.79/32")
    finish = caused(address.format("add"))
    assert wait.next() == (0, "192.0.2.79")
    late("wait address", finish)
    assert wait.next() is None
    events = Subscription(client, "ADDRESS_REMOVED")
    finish = caused(address.format("del"))
    events.next()
    late("ADDRESS_REMOVED", finish)
    events.cancel()

    wait = Wait(client, "path=/run/soon")
    finish = caused("echo $EPOCHREALTIME; : > /run/soon")
    assert wait.next() == (0, "/run/soon")
    late("wait path", finish)
    assert wait.next() is None

    stamp = "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/{}_2eservice"
    stamp += " org.freedesktop.systemd1.Unit {}EnterTimestamp | sed 's/t //; s/......$/.&/'"
    wait = Wait(client, "unit=soon")
    finish = caused("systemd-run -q --unit soon sleep infinity; sleep 1; " + stamp.format("soon", "Active"))
    assert wait.next() == (0, "soon.service")
    late("wait unit", finish)
    assert wait.next() is None
    events = Subscription(client, "SERVICE_FAILED")
    finish = caused("systemctl kill soon -s KILL; sleep 1; " + stamp.format("soon", "Inactive"))
    assert events.next()["data"] == {"unit": "soon.service", "result": "signal", "status": -1, "signal": 9}
    late("SERVICE_FAILED", finish)
    events.cancel()

    events = Subscription(client, "LOGIN")
    login = "(sleep 3; echo exit) | script -qc 'login -f root' /dev/null >/dev/null"
    finish = caused(f"(sleep 3; stat -c %.6Y /run/utmp) & {login}; wait")
    events.next()
    late("LOGIN", finish)
    events.cancel()
    guest.run("systemctl reset-failed; rm /run/soon")


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
    Wait(client, "unit=never-there", "unit=phoenix-ga.socket", "unit=sshd", "shutdown")
    before = -1
    deadline = time.monotonic() + 300
    while before != (before := wake_ups(guest, pid)):
        assert time.monotonic() < deadline, "the guest does not come to rest"
        time.sleep(5)
