"""All processes of a system, on a small fake tree and on this machine's kernel."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.running_processes import boot_time, running_processes
from tests.agent.test_files import refused
from tests.ends.client import LineClient


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    rest = "R 1 7 7 0 -1 0 1 2 3 4 50 60 0 0 20 -5 3 0 1000 4096 2"
    for pid, name, arguments in (
        (7, b"a) S 9 (b", b"x\0\0\xff y\0"),
        (30, b"kworker/0:1", b""),
        (200, b"x", b"z" * 9000),
    ):
        directory = tmp_path / "proc" / str(pid)
        directory.mkdir(parents=True)
        (directory / "stat").write_bytes(b"%d (%s) %s\n" % (pid, name, rest.encode()))
        (directory / "cmdline").write_bytes(arguments)
    # It has ended.
    (tmp_path / "proc" / "5").mkdir()
    (tmp_path / "proc" / "self").mkdir()
    found = list(running_processes(100, str(tmp_path)))
    assert [process["pid"] for process in found] == [7, 30, 200]
    assert [process["name"] for process in found] == ["a) S 9 (b", "kworker/0:1", "x"]
    assert [process["argv"] for process in found] == [["x", "", "\udcff y"], [], ["z" * 4096]]
    del found[0]["name"], found[0]["argv"], found[0]["uid"], found[0]["user"]
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert found[0] == {
        "pid": 7,
        "parent": 1,
        "state": "R",
        "nice": -5,
        "threads": 3,
        "cpu_ticks": 110,
        "started": 100 + 1000 // ticks,
        "virtual": 4096,
        "resident": 2 * page,
    }


def test_a_process_of_this_machine_is_listed_and_signalled(client: LineClient) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            answer = client.call("process-list")
            (found,) = [each for each in answer["processes"] if each["pid"] == process.pid]
            assert (found["argv"], found["name"], found["parent"]) == (["sleep", "1000"], "sleep", os.getpid())
            assert (found["uid"], found["user"]) == (os.geteuid(), pwd.getpwuid(os.geteuid()).pw_name)
            assert abs(found["started"] - time.time()) < 60
            assert found["virtual"] > found["resident"] > 0
            assert answer["memory"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            assert client.call("process-signal", pid=process.pid, signal=signal.SIGUSR1) is True
            assert process.wait(30) == -signal.SIGUSR1
        finally:
            process.kill()
    assert refused(client, "process-signal", pid=process.pid, signal=15)[0] == "ESRCH"


def test_the_time_of_the_boot_is_known() -> None:
    assert 0 < boot_time() < time.time()


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_a_process_group_cannot_be_signalled(client: LineClient, number: int) -> None:
    assert "must be from 1" in refused(client, "process-signal", pid=number, signal=15)[1]
