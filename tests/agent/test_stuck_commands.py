"""Clients whose commands are stuck: whoever comes next is served, and nothing runs in a wrong order."""

from __future__ import annotations

import base64
import errno
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.support import AgentProcess, LineClient, RefusedError, wait_for

# More than are kept of one client's requests.
TOO_MANY = 20_000


class StuckFile:
    """A FIFO of which nobody reads: a write to it takes 30 seconds, or until `release`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def ask_to_write(self, client: LineClient, tag: object = None) -> None:
        """Send a request that gets stuck."""
        handle = client.call("file-open", path=str(self.path), mode="w")
        data = base64.b64encode(bytes(1 << 20)).decode()
        client.ask("file-write", tag, handle_id=handle, bufb64=data)

    def release(self) -> None:
        """Let the request be finished."""
        taken = 0
        os.set_blocking(self._reader, True)
        while taken < 1 << 20:
            taken += len(os.read(self._reader, 1 << 20))

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[StuckFile]:
    file = StuckFile(tmp_path / "fifo")
    yield file
    file.close()


def test_sync_is_seen_behind_more_requests_than_can_be_kept(client: LineClient, stuck: StuckFile) -> None:
    stuck.ask_to_write(client)
    client.send(b'{"execute": "ping"}\n' * TOO_MANY)
    client.sync(7)
    assert client.call("ping") == __version__


def test_what_cannot_be_kept_is_refused_in_its_turn(client: LineClient, stuck: StuckFile) -> None:
    stuck.ask_to_write(client)
    client.send(b'{"execute": "ping"}\n' * TOO_MANY)
    client.ask("ping", "tagged")
    assert client.answer() == {"return": __version__, "tag": "tagged"}
    stuck.release()
    assert client.answer() == {"return": True}
    answers = [client.answer() for _ in range(TOO_MANY)]
    kept = answers.index(next(answer for answer in answers if "error" in answer))
    assert kept > 10_000
    assert all(answer == {"return": __version__} for answer in answers[:kept])
    for answer in answers[kept:]:
        refused = RefusedError(answer)
        assert refused.code == errno.EAGAIN
        assert "too many requests wait" in refused.text
    assert client.call("ping") == __version__


def test_requests_wait_without_loss_while_commands_are_finished(client: LineClient, tmp_path: Path) -> None:
    handle = client.call("file-open", path=str(tmp_path / "file"), mode="w")
    piece = os.urandom(1 << 20)
    request = {
        "execute": "file-write",
        "arguments": {"handle_id": handle, "bufb64": base64.b64encode(piece).decode()},
    }
    client.send((json.dumps(request) + "\n").encode() * 40)
    assert [client.answer() for _ in range(40)] == [{"return": True}] * 40
    client.call("file-close", handle_id=handle)
    assert (tmp_path / "file").read_bytes() == piece * 40


def test_a_client_that_leaves_a_stuck_command_frees_its_place(tmp_path: Path, stuck: StuckFile) -> None:
    with AgentProcess(tmp_path, "--max-clients", "1") as agent:
        with agent.connect() as client:
            stuck.ask_to_write(client)
            client.send(b'{"execute": "ping"}\n' * TOO_MANY)

        def served() -> bool:
            with agent.connect() as other:
                try:
                    other.call("ping")
                except (EOFError, ConnectionError):
                    return False
                return True

        wait_for(served)


def test_clients_that_left_do_not_fill_the_memory(agent: AgentProcess, stuck: StuckFile) -> None:
    for _ in range(6):
        with agent.connect() as client:
            stuck.ask_to_write(client)
            client.send(b'{"execute": "ping"}\n' * TOO_MANY)
    with agent.connect() as client:
        client.sync(8)
        assert client.call("ping") == __version__
    assert agent.memory() < 100 << 20


@pytest.mark.parametrize("between", [b"", b'\xff{"execute": "sync", "arguments": {"id": 5}}\n'])
def test_requests_on_a_handle_run_as_they_came_even_behind_a_stuck_one(
    client: LineClient, tmp_path: Path, stuck: StuckFile, between: bytes
) -> None:
    handle = client.call("file-open", path=str(tmp_path / "out"), mode="w")
    stuck.ask_to_write(client)
    for text, tag in (("first ", None), ("second", "tag")):
        client.ask("file-write", tag, handle_id=handle, bufb64=base64.b64encode(text.encode()).decode())
        if not tag:
            client.send(between)
    stuck.release()
    wait_for(lambda: (tmp_path / "out").read_bytes() == b"first second")


def test_a_request_that_the_memory_does_not_hold_gets_an_error(agent: AgentProcess, client: LineClient) -> None:
    client.call("file-stat", path="/")
    size = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, most = resource.prlimit(agent.process.pid, resource.RLIMIT_AS)
    resource.prlimit(agent.process.pid, resource.RLIMIT_AS, (size + (24 << 20), most))
    for length in (40 << 20, 10 << 20, 20 << 20):
        client.send(b'{"execute": "ping", "tag": "%s"}\n' % (b"x" * length))
        answer = client.answer()
        if "error" in answer:
            assert RefusedError(answer).code == errno.ENOMEM
        else:
            assert answer["return"] == __version__
        assert length != 40 << 20 or "error" in answer
    assert client.call("ping") == __version__
    assert client.call("file-stat", path="/")["isdir"]
