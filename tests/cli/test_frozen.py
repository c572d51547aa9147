"""`phoenixctl frozen`: the command's exit status is passed on only if all guests were frozen all the time."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from phoenix_ga.wire.messages import Request
from tests.cli.test_exit_status import EVIL, assert_harmless
from tests.cli.test_several import Host
from tests.support import wait_for

NOT_HELD = 123
ESTALE = 116


class FreezingAgent:
    """A script that freezes, thaws and tells its status as the agent does. Attributes can be set to lie."""

    def __init__(self, name: str) -> None:
        self.generation = f"0{name}"
        self.frozen = False
        self.ended = ""
        self.skipped: list[dict[str, str]] = []
        self.thaws: list[str] = []
        # In place of the answers.
        self.freeze: Any = None
        self.thaw: Any = None
        self.status: dict[str, Any] = {}

    def fs_freeze(self, request: Request) -> Any:
        if self.freeze is not None:
            return self.freeze
        self.frozen = True
        assert request.arguments["details"] is True
        return {"generation": self.generation, "filesystems": ["/"], "skipped": self.skipped}

    def fs_unfreeze(self, request: Request) -> Any:
        self.thaws.append(request.arguments["generation"])
        if self.thaw is not None:
            return self.thaw
        held = self.frozen
        self.frozen = False
        if not held:
            return CommandError("the freeze did not hold: its time limit was reached", ESTALE)
        self.ended = "released"
        return True

    def get_freeze_status(self, request: Request) -> Any:
        return {
            "frozen": self.frozen,
            "remaining": 60,
            "ended": self.ended,
            "generation": self.generation,
            "since": 1764280000000,
            "until": 0,
            "blocked": 1234,
            "stage": "",
            **self.status,
        }


class FreezingHost(Host):
    """A host whose guests are scripts that can be frozen."""

    def freezing(self, name: str) -> FreezingAgent:
        agent = FreezingAgent(name)
        self.add(
            name,
            fs_freeze=agent.fs_freeze,
            fs_unfreeze=agent.fs_unfreeze,
            get_freeze_status=agent.get_freeze_status,
        )
        return agent


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FreezingHost]:
    host = FreezingHost(tmp_path)
    yield host
    for script in host.scripts.values():
        script.__exit__()


@pytest.mark.parametrize("status", [0, 3, 123])
def test_the_status_of_the_command_is_passed_on(host: FreezingHost, status: int) -> None:
    agents = [host.freezing("a"), host.freezing("b")]
    result = host.run("frozen", "a", "b", "--", "sh", "-c", f"echo out; echo err >&2; cat; exit {status}", input="in")
    assert (result.returncode, result.stdout, result.stderr) == (status, "out\nin", "err\n")
    assert [agent.thaws for agent in agents] == [["0a"], ["0b"]]
    assert not any(agent.frozen for agent in agents)


def test_all_are_frozen_while_the_command_runs(host: FreezingHost) -> None:
    host.freezing("a"), host.freezing("b")
    check = f"{sys.executable} -m phoenix_ga.cli freeze-status a,b"
    result = host.run("frozen", "a,b", "--", "sh", "-c", check)
    assert result.returncode == 0
    assert result.stdout.count("frozen, automatic thaw in 60 s") == 2


def test_json_tells_the_verdict_on_stderr(host: FreezingHost) -> None:
    agent = host.freezing("a")
    agent.skipped = [{"mountpoint": "/boot/efi", "reason": "unsupported"}]
    result = host.run("--json", "frozen", "a", "--", "true")
    note, verdict = map(json.loads, result.stderr.splitlines())
    assert note == {"guest": "a", "note": "/boot/efi is not frozen: its type does not support freezing"}
    assert verdict == {
        "held": True,
        "status": 0,
        "guests": {
            "a": {
                "generation": "0a",
                "filesystems": ["/"],
                "skipped": agent.skipped,
                "held": True,
                "blocked": 1234,
            }
        },
    }


def test_a_freeze_that_did_not_hold_has_a_status_of_its_own(host: FreezingHost) -> None:
    host.freezing("a")
    bad = host.freezing("b")
    thaw = f"{sys.executable} -m phoenix_ga.cli thaw b"
    result = host.run("frozen", "a,b", "--", "sh", "-c", thaw)
    assert result.returncode == NOT_HELD
    assert result.stdout == "thawed\n"
    assert result.stderr == (
        "phoenixctl: b: the freeze did not hold: its time limit was reached; do not use what the command has made\n"
    )
    assert bad.thaws == ["", "0b"]


@pytest.mark.parametrize(
    ("lie", "told", "runs"),
    [
        ({"freeze": CommandError("a device is gone", 5)}, "a device is gone", False),
        ({"freeze": SILENCE}, "no answer", False),
        ({"freeze": HANG_UP}, "", False),
        ({"freeze": True}, "is not an object", False),
        ({"freeze": {"generation": "", "filesystems": [], "skipped": []}}, "nothing can be frozen", False),
        ({"skipped": [{"mountpoint": "/x", "reason": "foreign"}]}, "another program has frozen /x", False),
        ({"status": {"frozen": False}}, "now says that it is not", False),
        ({"status": {"generation": "other"}}, "now says that it is not", False),
        ({"thaw": SILENCE}, "nobody can tell whether the freeze held", True),
        ({"thaw": HANG_UP}, "nobody can tell whether the freeze held", True),
        ({"thaw": CommandError(f"no {EVIL}", 5)}, "nobody can tell whether the freeze held", True),
        ({"thaw": CommandError("everything is thawed, but a hook failed", 10)}, "a hook failed", True),
        ({"thaw": True}, "now says that it did not", True),
    ],
    ids=str,
)
def test_a_guest_that_fails_or_lies_ends_in_time_with_the_right_verdict(
    host: FreezingHost, tmp_path: Path, lie: dict[str, Any], told: str, runs: bool
) -> None:
    good, bad = host.freezing("good"), host.freezing("bad")
    vars(bad).update(lie)
    result = host.run("--timeout", 1, "frozen", "good", "bad", "--", "touch", tmp_path / "ran")
    assert result.returncode not in (0, 2)
    assert told in result.stderr
    assert_harmless(result.stderr)
    assert (tmp_path / "ran").exists() == runs
    if runs:
        assert result.returncode == NOT_HELD
        assert "do not use what the command has made" in result.stderr
    # The honest one is thawed all the same.
    assert good.thaws
    assert not good.frozen
    # Of one that refused, nothing is frozen; of one that does not answer, nobody knows.
    if lie.get("freeze") in (SILENCE, HANG_UP):
        assert "" in bad.thaws


def test_a_lost_connection_does_not_leave_the_guest_frozen(host: FreezingHost) -> None:
    agent = host.freezing("a")
    answers = iter([HANG_UP, None])

    def thaw(request: Request) -> Any:
        answer = next(answers)
        return FreezingAgent.fs_unfreeze(agent, request) if answer is None else answer

    host.scripts["a"].answers["fs-unfreeze"] = thaw
    result = host.run("frozen", "a", "--", "true")
    assert result.returncode == 0, result.stderr
    assert not agent.frozen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_thaws(host: FreezingHost, tmp_path: Path, number: signal.Signals) -> None:
    agent = host.freezing("a")
    script = f"trap 'echo > {tmp_path}/ended; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    process = host.start("frozen", "a", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert agent.frozen
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert (tmp_path / "ended").exists()
    assert agent.thaws == ["0a"]


def test_a_second_signal_does_not_stop_the_thaw(host: FreezingHost) -> None:
    agent = host.freezing("a")
    agent.thaw = SILENCE
    process = host.start("--timeout", 2, "frozen", "a", "--", "true")
    wait_for(lambda: bool(agent.thaws))
    process.send_signal(signal.SIGINT)
    agent.thaw = None
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert not agent.frozen


@pytest.mark.parametrize(
    ("words", "status"), [(["/nowhere/program"], 127), (["/etc/hosts"], 126), (["sh", "-c", "kill -9 $$"], 137)]
)
def test_a_command_that_cannot_run_is_told_as_by_a_shell(host: FreezingHost, words: list[str], status: int) -> None:
    agent = host.freezing("a")
    result = host.run("frozen", "a", "--", *words)
    assert result.returncode == status
    assert not agent.frozen


@pytest.mark.parametrize("words", [["a"], ["a", "--"], ["a", "true"]])
def test_a_missing_command_is_a_usage_error(host: FreezingHost, words: list[str]) -> None:
    agent = host.freezing("a")
    result = host.run("frozen", *words)
    assert result.returncode == 2
    assert "put it after --" in result.stderr
    assert not agent.frozen


def test_a_thaw_by_generation_is_a_verdict(host: FreezingHost) -> None:
    agent = host.freezing("a")
    assert json.loads(host.run("--json", "freeze", "a").stdout)["generation"] == "0a"
    assert host.run("thaw", "--generation", "0a", "a").returncode == 0
    result = host.run("thaw", "--generation", "0a", "a")
    assert result.returncode == NOT_HELD
    assert result.stderr == "phoenixctl: a: the freeze did not hold: its time limit was reached\n"
    assert not agent.frozen


def test_phoenixctl_killed_leaves_the_thaw_to_the_guest(host: FreezingHost) -> None:
    agent = host.freezing("a")
    process = host.start("frozen", "--auto-thaw", "9", "a", "--", "sh", "-c", "echo ready; exec sleep 1")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert agent.frozen
