"""The verbs for the day's work with a guest: what they show, ask for and refuse."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import CommandError
from phoenix_ga.client.mock import SILENCE
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.ends.agent import ScriptedAgent
from tests.support import AgentProcess


@pytest.fixture
def endpoint(agent: AgentProcess) -> str:
    return f"unix:{agent.socket_path}"


def test_df_shows_what_the_kernel_says(run: Run, endpoint: str) -> None:
    shown = run("df", endpoint)
    assert shown.returncode == 0, shown
    # Those of other tests come and go.
    (root,) = (each for each in json.loads(run("--json", "df", endpoint).stdout) if each["mountpoint"] == "/")
    figures = os.statvfs("/")
    assert root["total-bytes"] <= figures.f_blocks * figures.f_frsize
    assert root["used-bytes"] <= root["total-bytes"]
    assert f"{root['name']} " in shown.stdout


def test_disks_are_listed(run: Run, endpoint: str) -> None:
    shown = run("disks", endpoint)
    assert shown.returncode == 0, shown
    devices = {each["name"] for each in json.loads(run("--json", "disks", endpoint).stdout)}
    assert devices <= {f"/dev/{name}" for name in os.listdir("/sys/class/block")}
    assert all(device in shown.stdout for device in devices)


def test_time_is_that_of_the_guest(run: Run, endpoint: str) -> None:
    clock = json.loads(run("--json", "time", endpoint).stdout)
    assert abs(clock["time"] / 1e9 - time.time()) < 60
    assert abs(clock["offset"]) <= clock["error"] + 0.001
    assert "offset" in run("time", endpoint).stdout


def test_the_clock_is_set_to_that_of_the_host(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"guest-set-time": {}, "guest-get-time": 10**18}
    clock = json.loads(run("--json", "time", "--sync", scripted.endpoint).stdout)
    (request,) = (each for each in scripted.requests if each.execute == "guest-set-time")
    assert abs(request.arguments["time"] / 1e9 - time.time()) < 60
    assert clock["offset"] < -(10**8)


def test_hostname(run: Run, endpoint: str) -> None:
    assert run("hostname", endpoint).stdout.strip() == os.uname().nodename


def test_memory_is_that_of_the_guest(run: Run, endpoint: str) -> None:
    memory = json.loads(run("--json", "memory", endpoint).stdout)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory["total"] == total
    assert "memory  " in run("memory", endpoint).stdout


def test_cpus_are_listed(run: Run, endpoint: str) -> None:
    shown = run("cpus", endpoint)
    assert shown.returncode == 0, shown
    assert len([line for line in shown.stdout.splitlines() if "online" in line]) == os.cpu_count()


def test_cpus_go_offline_even_if_the_guest_takes_one_at_a_time(run: Run, scripted: ScriptedAgent) -> None:
    state = dict.fromkeys(range(4), True)

    def change(request: Any) -> int:
        first = request.arguments["vcpus"][0]
        state[first["logical-id"]] = first["online"]
        return 1

    scripted.answers = {
        "guest-get-vcpus": lambda _: [{"logical-id": number, "online": online} for number, online in state.items()],
        "guest-set-vcpus": change,
    }
    assert run("cpus", scripted.endpoint, "offline", "1-2").returncode == 0
    assert state == {0: True, 1: False, 2: False, 3: True}
    assert run("cpus", scripted.endpoint, "online").returncode == 0
    assert all(state.values())
    refused = run("cpus", scripted.endpoint, "offline", "7")
    assert (refused.returncode, "no CPU 7" in refused.stderr) == (1, True)


@pytest.mark.parametrize("cpus", ["x", "1-", "-1", "1,,2", "99999", ""])
def test_a_list_of_cpus_that_is_none_is_refused(run: Run, scripted: ScriptedAgent, cpus: str) -> None:
    assert run("cpus", scripted.endpoint, "offline", "--", cpus).returncode == 2
    assert not scripted.requests


def test_trim_names_what_failed(run: Run, scripted: ScriptedAgent) -> None:
    paths = [{"path": "/", "trimmed": 2048, "minimum": 0}, {"path": "/srv", "error": "trim not supported"}]
    scripted.answers = {"guest-fstrim": {"paths": paths}}
    result = run("trim", scripted.endpoint)
    assert result.returncode == 1
    assert "2.0 KiB" in result.stdout
    assert "trim not supported" in result.stdout


def test_a_password_is_read_from_stdin_and_shown_nowhere(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"guest-set-user-password": {}}
    result = run("passwd", "--stdin", scripted.endpoint, "alice", input="sesame\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (request,) = scripted.requests
    assert request.arguments == {
        "username": "alice",
        "password": base64.b64encode(b"sesame").decode(),
        "crypted": False,
    }
    assert run("passwd", "--stdin", scripted.endpoint, "alice", input="\n").returncode == 2


def test_keys_are_listed_added_and_removed(run: Run, scripted: ScriptedAgent, tmp_path: Path) -> None:
    scripted.answers = {
        "guest-ssh-get-authorized-keys": {"keys": ["ssh-ed25519 AAAA me\x1b[31m"]},
        "guest-ssh-add-authorized-keys": {},
        "guest-ssh-remove-authorized-keys": {},
    }
    assert run("keys", scripted.endpoint, "root").stdout == "ssh-ed25519 AAAA me\\x1b[31m\n"
    (tmp_path / "key.pub").write_text("# mine\nssh-ed25519 BBBB you\n\n")
    assert run("keys", scripted.endpoint, "root", "add", tmp_path / "key.pub").returncode == 0
    assert run("keys", scripted.endpoint, "root", "remove", "-", input="ssh-ed25519 CCCC\n").returncode == 0
    _, added, removed = scripted.requests
    assert added.arguments == {"username": "root", "keys": ["ssh-ed25519 BBBB you"]}
    assert removed.arguments == {"username": "root", "keys": ["ssh-ed25519 CCCC"]}


def test_a_private_key_does_not_leave_the_host(run: Run, scripted: ScriptedAgent, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n")
    refused = run("keys", scripted.endpoint, "root", "add", tmp_path / "key")
    assert (refused.returncode, "private key" in refused.stderr) == (2, True)
    assert run("keys", scripted.endpoint, "root", "add").returncode == 2
    assert not scripted.requests


def test_users(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"guest-get-users": [{"user": "al\nice", "login-time": 1767225600.5}]}
    assert "al\\x0aice" in run("users", scripted.endpoint).stdout
    scripted.answers = {"guest-get-users": []}
    assert run("users", scripted.endpoint).stdout == "nobody is logged in\n"


@pytest.mark.parametrize(
    ("words", "execute", "arguments"),
    [
        ("shutdown", "guest-shutdown", {"mode": "powerdown"}),
        ("shutdown --halt", "guest-shutdown", {"mode": "halt"}),
        ("reboot", "guest-shutdown", {"mode": "reboot"}),
        ("suspend", "guest-suspend-ram", {}),
        ("suspend --mode disk", "guest-suspend-disk", {}),
    ],
)
def test_power(run: Run, scripted: ScriptedAgent, words: str, execute: str, arguments: dict[str, str]) -> None:
    scripted.answers = {execute: SILENCE, "guest-ping": {}}
    result = run(*words.split(), scripted.endpoint, "--timeout", "20")
    assert result.returncode == 0, result
    assert [each.arguments for each in scripted.requests if each.execute == execute] == [arguments]


def test_a_refused_shutdown_fails(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {
        "guest-shutdown": CommandError("shutdown is missing", -1, None, "GenericError"),
        "guest-ping": {},
    }
    result = run("shutdown", scripted.endpoint)
    assert (result.returncode, "shutdown is missing" in result.stderr) == (1, True)


def test_reboot_waits_until_the_guest_has_booted(run: Run, scripted: ScriptedAgent) -> None:
    system = dict(BY_NAME["sysinfo"].examples[0].answer)
    scripted.answers = {
        "guest-shutdown": SILENCE,
        "guest-ping": {},
        "guest-sync-delimited": lambda request: b'\xff{"return": %d}\n' % request.arguments["id"],
        "guest-sync": lambda request: request.arguments["id"],
        "ping": "1.0",
        "sysinfo": {**system, "uptime": 100_000},
    }
    waiting = run("reboot", "--wait", scripted.endpoint, "--timeout", "4")
    assert (waiting.returncode, "took longer" in waiting.stderr) == (124, True)
    scripted.answers |= {"sysinfo": {**system, "uptime": 0}}
    assert run("reboot", "--wait", scripted.endpoint).returncode == 0
