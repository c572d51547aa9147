"""Programs that are run, and asked after, as the QEMU Guest Agent's clients do it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.core.loop import Loop, Timer
from phoenix_ga.agent.dialects.qga import exec_results as module
from phoenix_ga.agent.dialects.qga.exec_results import ExecResults
from phoenix_ga.agent.operations.processes import spawn_bare
from tests.agent.qga import GuestError, call, encode, result, run
from tests.ends.client import LineClient
from tests.support import AgentProcess, wait_for

MIB = 1024 * 1024


def sh(client: LineClient, script: str, **arguments: Any) -> dict[str, Any]:
    return run(client, "sh", "-c", script, **arguments)


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        (True, {"out-data": b"out\n", "err-data": b"err\n"}),
        ("separated", {"out-data": b"out\n", "err-data": b"err\n"}),
        ("stdout", {"out-data": b"out\n"}),
        ("stderr", {"err-data": b"err\n"}),
        ("merged", {"out-data": b"out\nerr\n"}),
        ("none", {}),
        (False, {}),
    ],
)
def test_what_is_captured(client: LineClient, capture: bool | str, expected: dict[str, bytes]) -> None:
    truncated = {name.replace("data", "truncated"): False for name in expected}
    told = sh(client, "echo out; echo err >&2; exit 3", capture_output=capture)
    assert told == {"exited": True, "exitcode": 3, **expected, **truncated}


def test_nothing_is_captured_unless_asked_for(client: LineClient) -> None:
    assert sh(client, "echo out") == {"exited": True, "exitcode": 0}


def test_a_program_that_is_ended_by_a_signal_has_no_exit_code(client: LineClient) -> None:
    assert sh(client, "kill -9 $$") == {"exited": True, "signal": 9}


def test_a_program_that_runs_is_told_to_run_and_no_more(client: LineClient) -> None:
    pid = call(client, "guest-exec", path="sleep", arg=["100"], capture_output=True)["pid"]
    assert call(client, "guest-exec-status", pid=pid) == {"exited": False}
    os.kill(pid, signal.SIGTERM)
    assert result(client, pid) == {"exited": True, "signal": 15}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nosuch", "No such file or directory"),
        ("/nosuch/x", "No such file or directory"),
        ("", "No such file or directory"),
        ("/tmp", "Permission denied"),
        ("/etc/passwd", "Permission denied"),
    ],
)
def test_what_cannot_be_run_is_an_error_of_exec_itself(agent: AgentProcess, path: str, reason: str) -> None:
    with agent.connect() as client, pytest.raises(GuestError) as error:
        call(client, "guest-exec", path=path)
    text = f"Guest agent command failed, error was 'Failed to execute child process “{path}” ({reason})'"
    assert str(error.value) == text
    assert agent.children() == []


def test_the_environment_is_replaced_where_one_is_given(client: LineClient, tmp_path: Path) -> None:
    assert run(client, "env", env=["A=1", "B", "C="], capture_output=True)["out-data"] == b"A=1\nC=\n"
    assert "out-data" not in run(client, "env", env=[], capture_output=True)
    own = run(client, "env", capture_output=True)["out-data"]
    assert f"PATH={os.environ['PATH']}".encode() in own.splitlines()
    program = tmp_path / "program"
    program.write_text("echo found $1\n")
    program.chmod(0o755)
    told = run(client, "program", "it", env=[f"PATH=/nowhere:{tmp_path}"], capture_output=True)
    assert told["out-data"] == b"found it\n"
    with pytest.raises(GuestError, match="No such file or directory"):
        call(client, "guest-exec", path="env", env=["PATH=/nowhere"])


def test_input_is_fed_and_ends(client: LineClient) -> None:
    data = os.urandom(3 * MIB)
    assert run(client, "cat", input_data=encode(data), capture_output=True)["out-data"] == data
    assert run(client, "cat", capture_output=True) == {"exited": True, "exitcode": 0}
    assert run(client, "true", input_data=encode(data)) == {"exited": True, "exitcode": 0}
    with pytest.raises(GuestError, match="Base64 data contains invalid characters"):
        call(client, "guest-exec", path="cat", input_data="!!")


def test_output_is_complete_when_the_end_is_told(client: LineClient) -> None:
    for size in (1, 65_536, 100_000, 4_000_001):
        told = sh(client, f"head -c {size} /dev/zero; echo end", capture_output=True)
        assert told["out-data"] == bytes(size) + b"end\n"


def test_more_than_16_mib_is_dropped_but_let_through(client: LineClient) -> None:
    script = f"head -c {16 * MIB + 1} /dev/zero; head -c {16 * MIB} /dev/zero >&2"
    told = sh(client, script, capture_output=True)
    assert len(told["out-data"]) == len(told["err-data"]) == 16 * MIB
    assert (told["out-truncated"], told["err-truncated"], told["exitcode"]) == (True, False, 0)


def test_a_result_whose_answer_was_lost_can_be_asked_for_again(agent: AgentProcess) -> None:
    with agent.connect() as client:
        told = sh(client, "echo out", capture_output=True)
        pid = call(client, "guest-exec", path="echo", arg=["mine"], capture_output=True)["pid"]
        wait_for(lambda: not agent.children())
        # It goes before it reads the answer.
        client.send(json.dumps({"execute": "guest-exec-status", "arguments": {"pid": pid}}).encode())
    with agent.connect() as client:
        assert told["out-data"] == b"out\n"
        expected = {"exited": True, "exitcode": 0, "out-data": encode(b"mine\n"), "out-truncated": False}
        assert result(client, pid) == expected
        assert result(client, pid) == expected


@pytest.mark.parametrize("pid", [1, -1, 2**40])
def test_others_programs_are_not_told_of(client: LineClient, pid: int) -> None:
    with pytest.raises(GuestError, match=r"^Invalid parameter 'pid'$"):
        call(client, "guest-exec-status", pid=pid)


def test_programs_of_before_a_restart_are_unknown(agent: AgentProcess) -> None:
    with agent.connect() as client:
        pid = call(client, "guest-exec", path="true")["pid"]
    agent.stop()
    agent.restart()
    with agent.connect() as client, pytest.raises(GuestError, match="Invalid parameter 'pid'"):
        call(client, "guest-exec-status", pid=pid)


def test_what_a_child_of_it_writes_soon_after_its_end_belongs_to_it(client: LineClient) -> None:
    told = sh(client, "(sleep 0.3; echo late) & echo soon", capture_output=True)
    assert told["out-data"] == b"soon\nlate\n"


def test_a_daemon_that_holds_the_pipes_keeps_nobody_waiting_and_lives(agent: AgentProcess, tmp_path: Path) -> None:
    script = f"(for i in $(seq 30); do sleep 0.1; echo $i; done; touch {tmp_path}/alive) & echo started"
    with agent.connect() as client:
        told = sh(client, script, capture_output=True)
        assert told["out-data"].startswith(b"started\n")
        assert not (tmp_path / "alive").exists()
        wait_for((tmp_path / "alive").exists)
        assert agent.children() == []


def test_nothing_is_left_of_a_thousand_programs(agent: AgentProcess) -> None:
    with agent.connect() as client:
        sh(client, "true", capture_output=True)
        files = len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))
        for _ in range(1000):
            call(client, "guest-exec", path="/bin/true", capture_output=True)
        wait_for(lambda: not agent.children())
        wait_for(lambda: len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir())) <= files)


def test_results_that_nobody_asks_for_take_bounded_memory(agent: AgentProcess) -> None:
    with agent.connect() as client:
        before = agent.memory()
        pids = []
        for _ in range(8):
            arguments = {"arg": ["-c", f"{12 * MIB}", "/dev/zero"], "capture_output": True}
            pids.append(call(client, "guest-exec", path="head", **arguments)["pid"])
            wait_for(lambda: not agent.children())
            # Complete as soon as another one asks.
            sh(client, "true", capture_output=True)
        assert agent.memory() - before < 100 * MIB
        results = [result(client, pid) for pid in pids]
        assert all(told["exitcode"] == 0 for told in results)
        kept = [told for told in results if "out-data" in told]
        assert [told.get("out-truncated") for told in results] == [True] * 3 + [False] * 5
        assert len(kept) == 5


def test_a_program_that_writes_without_end_does_not_stop_others(client: LineClient) -> None:
    pid = call(client, "guest-exec", path="yes", capture_output=True)["pid"]
    try:
        assert sh(client, "echo out", capture_output=True)["out-data"] == b"out\n"
    finally:
        os.kill(pid, signal.SIGKILL)
    told = result(client, pid)
    assert told["signal"] == 9


def test_a_policy_that_forbids_exec_forbids_it_here_too(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--block", "exec") as agent, agent.connect() as client:
        client.send(b'{"execute": "guest-exec", "arguments": {"path": "true"}}')
        assert client.answer()["error"]["class"] == "CommandNotFound"


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("guest-exec", {}, "Parameter 'path' is missing"),
        ("guest-exec", {"path": 1}, "Invalid parameter type for 'path', expected: string"),
        ("guest-exec", {"path": "true", "arg": "x"}, "Invalid parameter type for 'arg', expected: array"),
        ("guest-exec", {"path": "true", "arg": [1]}, "Invalid parameter type for 'arg[0]', expected: string"),
        (
            "guest-exec",
            {"path": "true", "capture-output": 1},
            "Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput",
        ),
        (
            "guest-exec",
            {"path": "true", "capture-output": "no"},
            "Parameter 'capture-output' does not accept value 'no'",
        ),
        ("guest-exec-status", {"pid": "1"}, "Invalid parameter type for 'pid', expected: integer"),
    ],
)
def test_what_is_said_of_mistakes(client: LineClient, command: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(GuestError) as error:
        call(client, command, **arguments)
    assert str(error.value) == text


class Clock:
    """Programs and their time, without an agent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.now = time.monotonic()
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.results = ExecResults(self.loop)

    def run(self, *words: str) -> int:
        """Run a program to its end, and return its process ID."""
        spawned = spawn_bare(words[0], words[1:], None, False, "separated", self.results.pids)
        self.results.add(spawned, b"")

        def look() -> None:
            capture = self.results.find(spawned.pid)
            if capture is None or capture.outcome is not None:
                self.loop.stop()
            else:
                self.loop.call_later(0.01, look)

        self.loop.call_soon(look)
        self.loop.run()
        return spawned.pid

    def expire(self) -> None:
        """Do what is due at this time."""
        self.results._expire()

    def knows(self, pid: int) -> bool:
        return self.results.find(pid) is not None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    before = signal.getsignal(signal.SIGCHLD)
    yield Clock(monkeypatch)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def test_results_are_forgotten_in_time(clock: Clock) -> None:
    asked, unasked = clock.run("true"), clock.run("true")
    capture = clock.results.find(asked)
    assert capture is not None
    clock.results.delivered(capture)
    clock.now += module.KEPT_AFTER_DELIVERY - 1
    clock.expire()
    assert clock.knows(asked)
    clock.now += 2
    clock.expire()
    assert not clock.knows(asked)
    assert clock.knows(unasked)
    clock.now += module.KEPT_TIME
    clock.expire()
    assert not clock.knows(unasked)
    assert clock.results.size == 0


def test_a_kept_result_wakes_the_agent_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    plain = clock.loop.call_later

    def call_later(seconds: float, callback: Callable[[], None]) -> Timer:
        if seconds > module.GRACE:
            delays.append(seconds)
        return plain(seconds, callback)

    monkeypatch.setattr(clock.loop, "call_later", call_later)
    clock.run("true")
    pid = clock.run("true")
    assert len(delays) == 1
    assert delays[0] >= module.KEPT_TIME
    result = clock.results.find(pid)
    assert result is not None
    clock.results.delivered(result)
    assert module.KEPT_AFTER_DELIVERY <= delays[1] < 2 * module.KEPT_AFTER_DELIVERY
    clock.now += 2 * module.KEPT_AFTER_DELIVERY
    clock.expire()
    assert not clock.knows(pid)
    assert delays[2:] == [pytest.approx(module.KEPT_TIME, abs=2 * module.KEPT_AFTER_DELIVERY)]


def test_the_oldest_result_gives_way_and_one_that_was_delivered_first(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNT_MAX", 3)
    first, second, third = (clock.run("true") for _ in range(3))
    capture = clock.results.find(second)
    assert capture is not None
    clock.results.delivered(capture)
    fourth = clock.run("true")
    assert [clock.knows(pid) for pid in (first, second, third, fourth)] == [True, False, True, True]
    fifth = clock.run("true")
    assert [clock.knows(pid) for pid in (first, third, fourth, fifth)] == [False, True, True, True]


def test_output_gives_way_to_newer_output_but_how_it_ended_stays(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOTAL_MAX", 10)
    first, second = clock.run("echo", "123456"), clock.run("echo", "abcdef")
    old, new = clock.results.find(first), clock.results.find(second)
    assert old is not None
    assert new is not None
    assert (old.outcome, old.out.size, old.out.truncated) == (("exitcode", 0), 0, True)
    assert (new.out.size, new.out.truncated, clock.results.size) == (7, False, 7)


def test_no_program_gets_the_number_of_one_whose_result_is_kept(tmp_path: Path) -> None:
    class AllButOne:
        """As if every number were taken but those that end in 7."""

        def __contains__(self, pid: object) -> bool:
            return int(str(pid)) % 10 != 7

    spawned = spawn_bare("true", [], None, False, "none", AllButOne())
    assert spawned.pid % 10 == 7
    assert os.waitpid(spawned.pid, 0)[1] == 0
