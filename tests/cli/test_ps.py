"""Listing and signalling the processes of a guest."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.client.test_hostile_answers import answer_of
from tests.ends.agent import ScriptedAgent


def test_the_processes_of_a_user_are_listed_in_the_order_asked_for(run: Run, endpoint: str) -> None:
    found = json.loads(run("--json", "ps", "-u", os.geteuid(), "--sort", "memory", endpoint).stdout)
    sizes = [process["resident"] for process in found["processes"]]
    assert {process["uid"] for process in found["processes"]} == {os.geteuid()}
    assert sizes == sorted(sizes, reverse=True)
    assert os.getpid() in {process["pid"] for process in found["processes"]}


def test_a_process_is_a_line(run: Run, endpoint: str) -> None:
    lines = run("ps", endpoint).stdout.splitlines()
    assert lines[0].split() == ["user", "pid", "cpu", "mem", "rss", "state", "started", "time", "command"]
    (own,) = [line for line in lines if line.split()[1] == str(os.getpid())]
    assert "python" in own


def test_what_a_process_calls_itself_does_not_reach_the_terminal(run: Run, scripted: ScriptedAgent) -> None:
    answer = answer_of(BY_NAME["process-list"])
    answer["processes"][0].update(argv=["\x1b[2J", "a\nb", "\u202ex"], user="\x9b1m", state="\x07")
    scripted.answers["process-list"] = answer
    result = run("ps", scripted.endpoint)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 2)
    assert result.stdout.replace("\n", "").isprintable()
    assert r"\x1b[2J" in result.stdout


def test_a_signal_has_a_name_or_a_number(run: Run, endpoint: str) -> None:
    for words, number in (([], signal.SIGTERM), (["-s", "hup"], signal.SIGHUP), (["-s", "9"], signal.SIGKILL)):
        with subprocess.Popen(["sleep", "1000"]) as process:
            try:
                assert run("kill", *words, endpoint, process.pid).returncode == 0
                assert process.wait(30) == -number
            finally:
                process.kill()


def test_the_other_processes_are_signalled_too(run: Run, endpoint: str) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait(30)
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            result = run("kill", endpoint, gone.pid, process.pid)
            assert (result.returncode, result.stderr.count("No such process")) == (1, 1)
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    "words", [["-s", "NONSENSE", "G", "1"], ["-s", "65", "G", "1"], ["G", "0"], ["G", "-1"], ["G"]]
)
def test_wrong_usage_of_kill(run: Run, words: list[str]) -> None:
    assert run("kill", *words).returncode == 2
