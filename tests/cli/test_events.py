"""`phoenixctl events`: real agents, and guests that lie."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent
from tests.ends.client import encode_frame
from tests.support import AgentProcess, wait_for


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as process:
        yield process


class Watching:
    """A verb that shows events."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            command_line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupt(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


def run_detached(agent: AgentProcess, *argv: str) -> None:
    with agent.connect() as client:
        client.call("exec", argv=list(argv), detach=True)


def wait_for_subscriber(agent: AgentProcess) -> None:
    # It watches the mounts.
    wait_for(lambda: bool(agent.open_files(Path("/proc"))))


def test_events_are_shown_until_ctrl_c(agent: AgentProcess) -> None:
    words = (f"unix:{agent.socket_path}", "--filter", "program_*", "--filter", "REMOUNTED")
    with Watching("events", *words) as watching:
        wait_for_subscriber(agent)
        run_detached(agent, "sh", "-c", "exit 3")
        line = watching.line()
        assert " PROGRAM_ENDED pid=" in line
        assert line.endswith(' argv="sh -c exit 3" status=3 signal=0\n')
        assert watching.interrupt()[0] == 130
    wait_for(lambda: not agent.open_files(Path("/proc")))


def test_json_is_as_on_the_wire(agent: AgentProcess) -> None:
    with Watching("--json", "events", f"unix:{agent.socket_path}", "--filter", "*ED") as watching:
        wait_for_subscriber(agent)
        run_detached(agent, "true")
        while (event := json.loads(watching.line()))["event"] != "PROGRAM_ENDED":
            # Others may mount filesystems on this machine.
            assert set(event) == {"event", "data", "timestamp"}
        assert event["data"]["argv"] == ["true"]


def test_following_goes_on_when_the_agent_restarts(agent: AgentProcess) -> None:
    words = (f"unix:{agent.socket_path}", "--filter", "PROGRAM_ENDED", "--filter", "REMOUNTED", "--filter", "CONN*")
    with Watching("events", "-f", *words) as watching:
        wait_for_subscriber(agent)
        agent.stop()
        # The reason is that the agent says so, or that its socket is closed.
        assert ' CONNECTION_LOST reason="' in watching.line()
        agent.restart()
        assert watching.line().endswith(" CONNECTION_RESTORED agent_restarted=yes guest_booted=no\n")
        run_detached(agent, "true")
        assert " PROGRAM_ENDED " in watching.line()


def test_without_following_the_loss_ends_it(agent: AgentProcess) -> None:
    with Watching("events", f"unix:{agent.socket_path}") as watching:
        wait_for_subscriber(agent)
        agent.stop()
        assert watching.process.wait(60) == 125


def test_several_guests_are_named(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with AgentProcess(tmp_path / "other") as other:
        guests = [f"unix:{each.socket_path}" for each in (agent, other)]
        with Watching("events", *guests, "--filter", "PROGRAM_ENDED", "--filter", "REMOUNTED") as watching:
            for each in (agent, other):
                wait_for_subscriber(each)
            run_detached(other, "true")
            assert watching.line().startswith(f"{guests[1]}: ")


def test_a_pattern_that_matches_nothing_is_wrong_usage(run: Run, agent: AgentProcess) -> None:
    result = run("events", f"unix:{agent.socket_path}", "--filter", "FLOOD*")
    assert (result.returncode, result.stdout) == (2, "")
    assert "No event matches" in result.stderr


def test_what_a_guest_tells_is_escaped(scripted: ScriptedAgent) -> None:
    evil = "\x1b]0;owned\x07"
    event = {"event": evil, "data": {evil: evil, "list": [evil]}, "timestamp": {"seconds": 0, "microseconds": 5}}

    def answer(request: Any) -> bytes:
        value = {"stream": 7, "agent": evil, "boot": evil, "unavailable": [{"name": "OOM_KILL", "reason": evil}]}
        text = json.dumps({"return": value, "tag": request.tag}).encode() + b"\n"
        return text + encode_frame(1, 7, json.dumps(event).encode() + b"\n")

    scripted.answers["events"] = answer
    with Watching("events", scripted.endpoint) as watching:
        shown = watching.line()
        assert shown.endswith(" \\x1b]0;owned\\x07 \\x1b]0;owned\\x07=\\x1b]0;owned\\x07 list=\\x1b]0;owned\\x07\n")
    with Watching("events", scripted.endpoint, "--filter", "OOM_KILL") as watching:
        assert watching.process.stderr is not None
        assert "cannot tell OOM_KILL: \\x1b]0;owned\\x07" in watching.process.stderr.readline()
