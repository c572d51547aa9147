"""Conversations: every request has one answer, in the order that was promised."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.wire.commands import BY_NAME
from tests.ends.client import LineClient, RefusedError
from tests.support import AgentProcess, wait_for


@pytest.mark.programs("socat")
def test_the_dialogue_of_the_readme_typed_into_socat(agent: AgentProcess) -> None:
    typed = b'{ "execute": "get-commands", "tag": "abc" }\r\n{ "execute": "ping", "tag": "def" }\r\n'
    socat = ["socat", "-t", "5", "-", f"UNIX-CONNECT:{agent.socket_path}"]
    lines = subprocess.run(socat, input=typed, capture_output=True, check=True, timeout=20).stdout.splitlines()
    assert json.loads(lines[0]) == {"return": sorted(BY_NAME), "tag": "abc"}
    assert lines[1] == b'{"return": "%s", "tag": "def"}' % __version__.encode()


def test_a_request_without_a_tag_is_answered_without_one(client: LineClient) -> None:
    client.send(b'{"execute": "ping"}\n')
    assert client.answer() == {"return": __version__}


@pytest.mark.parametrize(
    "tag", ['"a \\"quoted\\" tag"', "0", "1.5", "true", "null", '""', "[1, 2]", '{"a": {}}', '"\\u00e4"']
)
def test_any_tag_comes_back_as_it_was(client: LineClient, tag: str) -> None:
    client.send(b'{"execute": "ping", "tag": %s}\n' % tag.encode())
    assert client.answer() == {"return": __version__, "tag": json.loads(tag)}


def test_two_requests_in_one_read_are_both_answered(client: LineClient) -> None:
    client.send(b'{"execute": "ping", "tag": 1}\n{"execute": "ping", "tag": 2}\n')
    assert [client.answer()["tag"] for _ in range(2)] == [1, 2]


def test_several_requests_on_a_line_are_answered_as_if_each_had_come_alone(client: LineClient) -> None:
    client.send(b'{"execute": "ping", "tag": 1} {"execute": "ping", "tag": 2}{"execute": "ping", "tag": 3} rest\n')
    assert [client.answer().get("tag") for _ in range(3)] == [1, 2, 3]
    assert "error" in client.answer()


def test_a_thousand_requests_without_a_tag_are_answered_in_order(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    expected = []
    sent = b""
    for number in range(1000):
        if number % 3 == 0:
            sent += b'{"execute": "ping"}\n'
            expected.append(__version__)
        elif number % 3 == 1:
            sent += (
                b'{"execute": "get-file-md5sum", "arguments": {"path": "%s"}}\n' % str(tmp_path / "small").encode()
            )
            expected.append("9dd4e461268c8034f5c8564e155c67a6")
        else:
            sent += b"nonsense\n"
            expected.append("error")
    threading.Thread(target=client.send, args=(sent,)).start()
    answers = [client.answer() for _ in expected]
    assert [answer.get("return", "error") for answer in answers] == expected


def test_tagged_requests_overtake_a_slow_one(client: LineClient, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 30)
    client.ask("get-file-md5sum", "slow", path=str(slow))
    client.ask("ping", "quick")
    assert [client.answer()["tag"] for _ in range(2)] == ["quick", "slow"]


def test_requests_on_one_handle_run_in_order_whatever_their_tags(client: LineClient, tmp_path: Path) -> None:
    handle = client.call("file-open", path=str(tmp_path / "out"), mode="w")
    pieces = [b"%06d\n" % number for number in range(500)]
    for number, piece in enumerate(pieces):
        client.ask("file-write", f"w{number}", handle_id=handle, bufb64=base64.b64encode(piece).decode())
        if number % 50 == 49:
            for _ in range(50):
                assert client.answer()["return"] is True
    client.call("file-close", handle_id=handle)
    assert (tmp_path / "out").read_bytes() == b"".join(pieces)


def test_sync_drops_what_an_earlier_client_left(agent: AgentProcess, client: LineClient) -> None:
    client.send(b'{"execute": "file-')
    client.sync(99)
    assert client.call("ping") == __version__


def test_sync_never_hands_out_answers_due_to_an_earlier_client(client: LineClient, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 28)
    client.ask("get-file-md5sum", "stale", path=str(slow))
    client.ask("get-file-md5sum", path=str(slow))
    client.sync(1)
    time.sleep(1)
    assert client.call("ping") == __version__


def test_sync_is_answered_while_everything_else_is_stuck(
    agent: AgentProcess, client: LineClient, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 30)
    for number in range(40):
        client.ask("get-file-md5sum", path=str(slow), tag=number)
    client.sync(2)


def test_a_client_that_only_stops_sending_still_gets_its_answers(agent: AgentProcess, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 27)
    with agent.connect() as client:
        client.ask("get-file-md5sum", path=str(slow))
        client.socket.shutdown(1)
        assert "return" in client.answer()
        assert client.socket.recv(1) == b""


def test_what_was_asked_is_done_even_if_the_client_leaves_at_once(agent: AgentProcess, tmp_path: Path) -> None:
    with agent.connect() as client:
        for number in range(50):
            client.ask("directory-create", path=str(tmp_path / "made" / str(number)))
    wait_for(lambda: len(list(tmp_path.glob("made/*"))) == 50)


def test_a_client_that_does_not_read_does_not_fill_the_memory(agent: AgentProcess, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    before = agent.memory()
    with agent.connect() as client:
        handle = client.call("file-open", path=str(big))
        client.socket.settimeout(1)
        try:
            for number in range(1000):
                client.ask("file-read", number, handle_id=handle, count=4 << 20)
        except OSError:
            pass  # A timeout, which is a class of its own in Python 3.9.
        assert agent.memory() - before < 150 << 20
        with agent.connect() as other:
            assert other.call("ping") == __version__


def test_a_client_that_reads_late_gets_every_answer_once(
    agent: AgentProcess, client: LineClient, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(os.urandom(300_000))
    handle = client.call("file-open", path=str(tmp_path / "data"))
    for number in range(100):
        client.ask("file-read", number, handle_id=handle, count=3000)
    time.sleep(0.5)
    answers = {answer["tag"]: answer["return"]["bufb64"] for answer in (client.answer() for _ in range(100))}
    data = b"".join(base64.b64decode(answers[number]) for number in range(100))
    assert data == (tmp_path / "data").read_bytes()


def test_more_commands_than_the_limit_get_a_clear_error(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 30)
    with AgentProcess(tmp_path, "--max-commands", "4", "--max-workers", "8") as agent, agent.connect() as client:
        for number in range(6):
            client.ask("get-file-md5sum", number, path=str(slow))
        refused = [client.answer() for _ in range(2)]
        assert [answer["tag"] for answer in refused] == [4, 5]
        error = RefusedError(refused[0])
        assert (error.code, error.text) == (11, "4 commands are under way, which is the limit; wait for answers")
        assert client.call("ping") == __version__


def test_ping_overtakes_a_digest_and_a_fifo(client: LineClient, tmp_path: Path) -> None:
    slow, fifo = tmp_path / "slow", tmp_path / "fifo"
    with slow.open("wb") as file:
        file.truncate(1 << 28)
    os.mkfifo(fifo)
    client.ask("get-file-md5sum", "slow", path=str(slow))
    handle = client.call("file-open", path=str(fifo))
    # The digest takes seconds. Its answer would fail a call that came after it.
    for _ in range(50):
        client.call("ping")
    client.call("file-close", handle_id=handle)
    assert client.answer()["tag"] == "slow"


@pytest.mark.parametrize("rounds", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_clients_that_leave_at_random_moments_leave_nothing_behind(
    agent: AgentProcess, tmp_path: Path, rounds: int
) -> None:
    (tmp_path / "data").write_bytes(os.urandom(4 << 20))
    chance = random.Random(rounds)
    for _ in range(rounds):
        with agent.connect() as client:
            client.sync(chance.randrange(1 << 30))
            handle = client.call("file-open", path=str(tmp_path / "data"))
            reads, pings = chance.randrange(50), chance.randrange(20)
            for number in range(reads):
                client.ask("file-read", number, handle_id=handle, count=65536)
            client.send(b'{"execute": "ping", "tag": 1}\n' * pings + b'{"exec'[: chance.randrange(6)])
            for _ in range(min(chance.randrange(5), reads + pings)):
                client.answer()
        with agent.connect() as client:
            client.call("file-close", handle_id=handle)
            assert client.call("ping") == __version__
    assert agent.process.poll() is None


@pytest.mark.parametrize(("pings", "bursts"), [(10_000, 10), pytest.param(100_000, 100, marks=pytest.mark.soak)])
def test_every_ping_has_its_answer(agent: AgentProcess, tmp_path: Path, pings: int, bursts: int) -> None:
    (tmp_path / "data").write_bytes(os.urandom(1 << 20))
    with agent.connect() as client:
        for _ in range(pings):
            client.call("ping")
        before = agent.memory()
        for number in range(bursts):
            client.burst(str(number), tmp_path / "data")
        assert agent.memory() - before < 2 << 20
