"""The self-test: what it says of this machine, and of one on which things are missing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga.agent.linux import waiter
from phoenix_ga.agent.operations import self_test as module
from phoenix_ga.agent.operations.self_test import FAILED, OK, WARNING, Subject, self_test
from tests.ends.client import LineClient
from tests.support import SOURCE, AgentProcess
from tools import build_native


def results(subject: Subject) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["state"], each["text"]) for each in self_test(subject)}


@pytest.fixture
def subject() -> Subject:
    return Subject(("/dev/null",), (), "")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phoenix_ga.agent", *words]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_program_prints_a_line_for_each_check_and_ends_with_a_status(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        words = ["-p", f"unix:{agent.socket_path}", "-c", "/dev/null", "--self-test"]
        result = run(*words)
        objects = json.loads(run(*words, "--json").stdout)
    # Other tests mount filesystems meanwhile.
    lines = [line for line in result.stdout.splitlines() if " freeze" not in line]
    states = [each["state"] for each in objects if not each["name"].startswith("freeze")]
    assert [line.split()[0] for line in lines] == states
    assert f"ok       port unix:{agent.socket_path}: a socket is there\n" in result.stdout
    assert result.returncode == ("failed " in result.stdout)
    assert {"python", "rights", "parking", "hooks", "users", "clock", "selinux", "log"} <= {
        each["name"] for each in objects
    }


def test_without_a_port_it_fails(tmp_path: Path) -> None:
    result = run("-p", f"{tmp_path}/missing", "-c", "/dev/null", "--self-test")
    assert result.returncode == 1
    assert f"failed   port {tmp_path}/missing: the guest has no such port\n" in result.stdout


def test_json_belongs_to_the_self_test() -> None:
    result = run("--json")
    assert (result.returncode, result.stderr) == (1, "phoenix-ga: --json is allowed with --self-test only\n")


def test_the_agent_answers_it(client: LineClient) -> None:
    answer = client.call("self-test")
    assert {each["state"] for each in answer} <= {OK, WARNING, FAILED}
    assert all(each.keys() == {"name", "state", "text"} and each["text"] for each in answer)
    assert "port unix:" in str(answer)


def test_a_port_that_another_program_has_opened_is_no_good_news(subject: Subject) -> None:
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    subject.ports = (f"tty:{path}", "unix:/no/such/socket")
    name = Path("/proc/self/comm").read_text().strip()
    states = results(subject)
    assert states[f"port tty:{path}"] == (FAILED, f"opened by {name} (process {os.getpid()})")
    assert states["port unix:/no/such/socket"][0] == FAILED
    os.close(master)
    os.close(slave)


def test_a_port_that_the_agent_has_opened_is_good_even_if_others_are_missing(
    tmp_path: Path, subject: Subject
) -> None:
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    with AgentProcess(tmp_path, port=f"tty:{path}") as agent:
        subject.ports = (f"tty:{path}", "/dev/missing")
        states = results(subject)
        assert states[f"port tty:{path}"] == (OK, f"opened by phoenix-ga (process {agent.process.pid})")
        assert states["port /dev/missing"] == (WARNING, "the guest has no such port")
    os.close(master)


def test_a_hook_that_others_can_change_is_reported(tmp_path: Path, subject: Subject) -> None:
    hook = tmp_path / "hook"
    hook.touch(0o755)
    hook.chmod(0o777)
    subject.hooks = (str(hook),)
    state, text = results(subject)["hooks"]
    assert state == FAILED
    assert str(hook) in text


@pytest.mark.programs("cc")
def test_the_waiter_is_tried(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.park_after = 60
    build_native.build()
    monkeypatch.setattr(waiter, "INSTALLED", "/no/such/waiter")
    assert results(subject)["parking"] == (OK, "after 60 seconds, by a copy in memory")
    monkeypatch.setattr(waiter, "bundled_waiter", lambda: b"no program")
    assert results(subject)["parking"] == (WARNING, "the agent stays awake when idle: Exec format error")
    subject.park_after = 0
    assert results(subject)["parking"][0] == OK


def test_restrictions_are_warnings(subject: Subject) -> None:
    assert results(subject)["rights"] == (OK, "nothing is restricted")
    subject.restrictions = ("the clock cannot be set: without CAP_SYS_TIME",)
    assert results(subject)["rights"] == (WARNING, "the clock cannot be set: without CAP_SYS_TIME")


def test_a_check_that_fails_does_not_hide_the_others(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "holders_of", lambda device: 1 / 0)
    states = results(subject)
    assert states["ports"] == (FAILED, "cannot be checked: division by zero")
    assert "log" in states
