"""The kernel's counters, on small fake trees and on this machine's kernel."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.operations import metrics
from phoenix_ga.agent.operations.metrics import read_metrics
from phoenix_ga.wire.commands import BY_NAME
from tests.agent.trees import make_tree
from tests.support import AgentProcess

STAT = """cpu  11 2 3 4 5 6 7 8 9 10
cpu0 10 2 3 4 5 6 7 8 9 10
cpu2 1 0 0 0
intr 77 1 2 3
ctxt 88
btime 1767225600
processes 99
procs_running 3
procs_blocked 1
softirq 5 1 2
"""
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
eth0:1:  1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0
"""
FILES = {
    "proc/stat": STAT,
    "proc/loadavg": "0.25 0.50 1.00 1/100 4711\n",
    "proc/meminfo": "MemTotal:  1000 kB\nActive(anon):  2 kB\nHugePages_Total:   3\n",
    "proc/vmstat": "pgfault 5\noom_kill 1\n",
    "proc/pressure/cpu": "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\n",
    "proc/diskstats": " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n 8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
    "proc/net/dev": DEV,
    "proc/sys/kernel/domainname": "example\n",
    "sys/class/net/lo/operstate": "unknown\n",
    "sys/class/net/lo/mtu": "65536\n",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian"\nHOME_URL=x\n',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_tree(tmp_path)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_figures_are_those_of_the_kernel(root: Path) -> None:
    found = read_metrics(frozen=False, root=str(root))
    assert found["boot_time"] == 1767225600
    assert found["cpus"][0] == {
        **dict(zip(("user", "nice", "system", "idle", "iowait", "irq", "softirq"), (10, 2, 3, 4, 5, 6, 7))),
        "steal": 8,
        "guest": 9,
        "guest_nice": 10,
        "cpu": 0,
    }
    assert found["cpus"][1:] == [{"cpu": 2, "user": 1, "nice": 0, "system": 0, "idle": 0}]
    assert found["activity"] == {
        "interrupts": 77,
        "context_switches": 88,
        "forks": 99,
        "running": 3,
        "blocked": 1,
    }
    assert found["loadavg"] == {"1m": 0.25, "5m": 0.5, "15m": 1.0}
    assert found["memory"] == {"MemTotal": 1024000, "Active(anon)": 2048, "HugePages_Total": 3}
    assert found["vmstat"] == {"pgfault": 5, "oom_kill": 1}
    assert found["pressure"] == {"cpu": {"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 123}}}
    assert [disk["name"] for disk in found["disks"]] == ["vda", "sda"]
    assert "discards" not in found["disks"][0]
    assert (found["disks"][1]["weighted_io_ms"], found["disks"][1]["flush_ms"]) == (11, 17)
    assert [each["name"] for each in found["interfaces"]] == ["lo", "eth0:1"]
    assert (found["interfaces"][0]["rx_multicast"], found["interfaces"][0]["tx_compressed"]) == (8, 16)
    assert (found["interfaces"][0]["state"], found["interfaces"][0]["mtu"]) == ("unknown", 65536)
    assert found["interfaces"][0]["hardware"] == 0
    assert (found["interfaces"][1]["state"], found["interfaces"][1]["tx_bytes"]) == ("unknown", 2)
    assert found["os"] == {"id": "debian", "pretty_name": "Debian"}
    assert found["uname"]["domain"] == "example"
    assert found["omitted"] == 0


def test_filesystems_that_could_hang_are_left_out_with_all_that_is_mounted_on_them(root: Path) -> None:
    with (root / "proc/self/mountinfo").open("ab") as file:
        file.write(b"40 33 8:17 / /net/below rw - ext4 /dev/sdb1 rw\n41 22 0:50 / /proc/x rw - tmpfs tmpfs rw\n")
    (root / "srv/my data\t\\\nx").mkdir(parents=True)
    found = read_metrics(frozen=False, root=str(root))["filesystems"]
    assert [each["mountpoint"] for each in found] == [
        *("/", "/srv/my data\t\\\nx", "/bind", "/media/cd", "/tmp", "/home", "/mnt/caf\udce9\r", "/proc/x")
    ]
    # Of these, the tree has only two.
    assert [each["mountpoint"] for each in found if "error" not in each] == ["/", "/srv/my data\t\\\nx"]
    sizes = os.statvfs(root)
    assert found[0]["size"] == sizes.f_blocks * sizes.f_frsize
    assert found[0]["files"] == sizes.f_files


def test_no_filesystem_is_touched_while_frozen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(os, "statvfs", touched.append)
    monkeypatch.setattr(metrics, "os_release", touched.append)
    found = read_metrics(frozen=True, root=str(root))
    assert (found["frozen"], found["filesystems"], found["os"], touched) == (True, [], {}, [])
    assert found["memory"]["MemTotal"] == 1024000


def test_lists_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ENTRIES_MAX", 3)
    (root / "proc/stat").write_text(STAT + "".join(f"cpu{number} 1\n" for number in range(3, 10)))
    found = read_metrics(frozen=False, root=str(root))
    assert {name: len(found[name]) for name in ("cpus", "disks", "filesystems", "interfaces")} == {
        "cpus": 3,
        "disks": 2,
        "filesystems": 3,
        "interfaces": 2,
    }
    # Six of the CPUs, and at least one of the filesystems.
    assert found["omitted"] == 7


def test_a_kernel_without_pressure_and_an_interface_that_goes(root: Path) -> None:
    (root / "proc/pressure/cpu").unlink()
    (root / "sys/class/net/lo/operstate").unlink()
    (root / "etc/os-release").unlink()
    found = read_metrics(frozen=False, root=str(root))
    assert (found["pressure"], found["interfaces"][0]["state"], found["os"]) == ({}, "unknown", {})


def test_this_machine(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        found = client.call("metrics")
    assert set(found) == set(BY_NAME["metrics"].examples[0].answer)
    assert abs(found["time"] - time.time()) < 60
    assert abs(found["time"] - found["boot_time"] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert len(found["cpus"]) == os.cpu_count()
    meminfo = Path("/proc/meminfo").read_text().split()
    assert found["memory"]["MemTotal"] == int(meminfo[1]) * 1024
    interfaces = {name for _, name in socket.if_nameindex()}
    assert {each["name"] for each in found["interfaces"]} == interfaces
