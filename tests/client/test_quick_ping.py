"""A ping without an event loop: it answers, or leaves the question to the usual way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import phoenix_ga.client
from phoenix_ga import __version__
from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from phoenix_ga.client.quick_ping import quick_ping
from phoenix_ga.wire.messages import Request
from tests.ends.agent import ScriptedAgent
from tests.support import AgentProcess


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(tmp_path) as agent:
        yield agent


def test_an_agent_answers(agent: AgentProcess) -> None:
    for endpoint in (f"unix:{agent.socket_path}", str(agent.socket_path)):
        answer = quick_ping(endpoint, 30)
        assert answer is not None
        assert answer[0] == __version__
        assert 0 < answer[1] < 30


def other_tag(request: Request) -> bytes:
    return b'{"return": "1.0", "tag": "other"}\n'


@pytest.mark.parametrize(
    "answer",
    [
        CommandError("no", 13),
        HANG_UP,
        17,
        ["1.0"],
        b"nonsense\n",
        b"x" * 100_000,
        other_tag,
    ],
    ids=["error", "hang-up", "number", "list", "no JSON", "no end", "other tag"],
)
def test_what_is_not_as_usual_is_left_to_the_usual_way(scripted: ScriptedAgent, answer: Any) -> None:
    scripted.answers["ping"] = answer
    assert quick_ping(scripted.endpoint, 30) is None
    assert scripted.asked == ["ping"]


def test_silence_is_left_to_the_usual_way(scripted: ScriptedAgent) -> None:
    scripted.answers["ping"] = SILENCE
    assert quick_ping(scripted.endpoint, 0.2) is None


@pytest.mark.parametrize("endpoint", ["web1", "unix:/nowhere/x.sock", "vsock:3", "tcp:127.0.0.1:9", "unix:", "a\0/b"])
def test_other_endpoints_are_left_to_the_usual_way(endpoint: str) -> None:
    assert quick_ping(endpoint, 1) is None


def test_each_name_of_the_library_is_found() -> None:
    for name in phoenix_ga.client.__all__:
        assert getattr(phoenix_ga.client, name) is not None
    assert not hasattr(phoenix_ga.client, "nonsense")
