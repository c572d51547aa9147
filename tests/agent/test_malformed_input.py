"""Malformed input: a clear error for each, and an agent that goes on as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.ends.client import RefusedError
from tests.malformed import CASES, MEMORY_MAX, Case
from tests.support import AgentProcess, wait_for


@pytest.fixture(scope="module")
def patient_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent that has to bear all of it."""
    with AgentProcess(tmp_path_factory.mktemp("agent")) as process:
        yield process


def test_there_are_enough_cases() -> None:
    assert len({data for _, data, _, _ in CASES}) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_malformed_request_gets_a_clear_error(patient_agent: AgentProcess, case: Case) -> None:
    _, data, code, text = case
    with patient_agent.connect() as client:
        # The agent answers some lines before they end.
        threading.Thread(target=client.send, args=(data + b'{"execute": "ping"}\n',)).start()
        error = RefusedError(client.answer())
        assert (error.code, text in error.text) == (code, True), error
        assert client.answer() == {"return": __version__}
    assert patient_agent.memory() < MEMORY_MAX


def test_the_tag_of_a_wrong_request_comes_back(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.send(b'{"execute": 1, "tag": "kept"}\n')
        assert client.answer()["tag"] == "kept"


def test_a_tag_of_any_depth_is_answered(agent: AgentProcess) -> None:
    with agent.connect() as client:
        for command in (b"ping", b"sysinfo", b"nonsense"):
            for depth in (*range(900, 1010), 2000, 5000, 9000, 20_000):
                tag = b"[" * depth + b"]" * depth
                client.send(b'{"execute": "%s", "tag": %s}\n' % (command, tag))
                client.line()
        client.send(b'{"execute": "ping"}\n')
        assert client.answer() == {"return": __version__}


def test_a_stream_whose_answer_cannot_be_written_is_not_opened(agent: AgentProcess) -> None:
    with agent.connect() as client:
        answers = []
        for depth in range(900, 1010):
            client.send(
                b'{"execute": "file-get", "arguments": {"path": "/etc/passwd", "window": 0}, "tag": %s}\n'
                % (b"[" * depth + b"]" * depth)
            )
            answers.append(client.line())
        opened = sum(b'"stream"' in answer for answer in answers)
        assert 0 < opened < len(answers)
        wait_for(lambda: agent.open_files(Path("/etc")) == ["/etc/passwd"] * opened)


@pytest.mark.parametrize("length", [5_000, 1_000_000])
def test_the_text_of_an_error_is_no_longer_than_a_person_reads(agent: AgentProcess, length: int) -> None:
    with agent.connect() as client:
        for arguments in ({"path": "/" + "x" * length}, {"path": "/", "y" * length: 1}):
            with pytest.raises(RefusedError) as caught:
                client.call("file-stat", **arguments)
            assert len(caught.value.text) <= 1100


def test_an_agent_with_a_short_line_limit_says_so(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--line-limit", "2000") as agent, agent.connect() as client:
        client.send(b"x" * 2001 + b"\n")
        assert RefusedError(client.answer()).text == "line is longer than the limit of 2000 bytes"


def test_a_name_that_stands_for_no_character_is_refused(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.send(b'{"execute": "ping", "arguments": {"\\ud800": 1}}\n')
        assert "\\ud800" in RefusedError(client.answer()).text


def test_thousands_of_urgent_requests_take_few_threads(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.send(b'{"execute": "fs-unfreeze", "tag": 1}\n' * 900)
        most = 0
        for _ in range(900):
            assert client.answer()["return"] is True
            most = max(most, len(list(Path(f"/proc/{agent.process.pid}/task").iterdir())))
        assert most < 40
