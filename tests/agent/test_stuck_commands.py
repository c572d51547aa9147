"""Clients whose commands are stuck: whoever comes next is served, and nothing runs in a wrong order."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.ends.client import LineClient, RefusedError
from tests.support import AgentProcess, wait_for

# More than are kept of one client's requests.
TOO_MANY = 20_000


class StuckFile:
    """A FIFO of which nobody reads: a write to it takes 30 seconds, or until `release`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def ask_to_write(self, client: LineClient, times: int = 1) -> None:
        """Send a request that gets stuck, so many times."""
        handle = client.call("file-open", path=str(self.path), mode="w")
        data = base64.b64encode(bytes(1 << 20)).decode()
        for _ in range(times):
            client.ask("file-write", handle_id=handle, bufb64=data)

    def release(self, size: int = 1 << 20) -> None:
        """Let the request be finished. size: of its data, in bytes."""
        taken = 0
        os.set_blocking(self._reader, True)
        while taken < size:
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
    client.send(b'{"execute": "ping", "tag": ""}\n' * TOO_MANY)
    client.ask("ping", "tagged")
    assert client.answer() == {"return": __version__, "tag": "tagged"}
    stuck.release()
    assert client.answer() == {"return": True}
    answers = [client.answer() for _ in range(TOO_MANY)]
    kept = answers.index(next(answer for answer in answers if "error" in answer))
    assert kept > 10_000
    assert all(answer == {"return": __version__, "tag": ""} for answer in answers[:kept])
    for answer in answers[kept:]:
        assert answer["tag"] == ""
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


def fill(agent: AgentProcess, directory: Path) -> list[tuple[StuckFile, LineClient]]:
    """Let four clients ask for all that may wait, behind a stuck command each."""
    stuck = []
    for number in range(4):
        file, client = StuckFile(directory / f"fifo{number}"), agent.connect()
        file.ask_to_write(client)
        client.send(b'{"execute": "ping"}\n' * TOO_MANY)
        stuck.append((file, client))
    return stuck


def test_a_client_is_served_while_others_have_filled_all_there_is(agent: AgentProcess, tmp_path: Path) -> None:
    with contextlib.ExitStack() as open_files:
        stuck_ones = fill(agent, tmp_path)
        for file, other in stuck_ones:
            open_files.callback(file.close)
            open_files.enter_context(other)
        with agent.connect() as client:
            # Whoever repeats its sync does not pay for it each time.
            for number in range(5):
                client.sync(number)
            assert client.call("ping") == __version__

            def is_refused() -> bool:
                try:
                    client.call("file-stat", path="/")
                except RefusedError as error:
                    return "too many requests wait" in error.text
                return False

            # The requests of all four are read in turns with ours.
            wait_for(is_refused)
            for file, other in stuck_ones:
                file.release()
                assert other.answer() == {"return": True}
                for _ in range(TOO_MANY):
                    other.answer()
            assert client.call("file-stat", path="/")["isdir"]


def test_nobody_is_refused_while_others_are_slow_but_not_stuck(agent: AgentProcess, tmp_path: Path) -> None:
    pieces = 24

    def write(file: StuckFile) -> None:
        with agent.connect() as client:
            file.ask_to_write(client, pieces)
            answers.extend(client.answer() for _ in range(pieces))

    def take(file: StuckFile) -> None:
        for _ in range(pieces):
            time.sleep(0.15)
            file.release()

    answers: list[object] = []
    files = [StuckFile(tmp_path / f"fifo{number}") for number in range(5)]
    threads = [threading.Thread(target=work, args=(file,)) for work in (write, take) for file in files]
    for thread in threads:
        thread.start()
    with agent.connect() as client:
        while any(thread.is_alive() for thread in threads):
            assert client.call("file-stat", path="/")["isdir"]
            time.sleep(0.1)
    for file in files:
        file.close()
    assert answers == [{"return": True}] * pieces * len(files)


def test_sigterm_does_not_wait_for_a_client_that_left_with_its_answers_untaken(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(4 << 20))
    with AgentProcess(tmp_path, "--stop-timeout", "15") as agent:
        with agent.connect() as client:
            handle = client.call("file-open", path=str(tmp_path / "big"))
            client.ask("file-read", handle_id=handle, count=4 << 20)
            time.sleep(0.3)
            agent.process.send_signal(signal.SIGTERM)
            agent.wait_for_log("stopping")
        assert agent.process.wait(5) == 0


@pytest.mark.parametrize("size", [4095, 4096, 4097])
def test_a_last_request_is_done_whatever_answers_were_left_untaken(
    agent: AgentProcess, tmp_path: Path, size: int
) -> None:
    with agent.connect() as client:
        handle = client.call("file-open", path=str(tmp_path / "out"), mode="w")
        client.ask("ping", "its answer is not read")
        time.sleep(0.2)
        agent.process.send_signal(signal.SIGSTOP)
        text = base64.b64encode(b"hello").decode()
        line = json.dumps({"execute": "file-write", "arguments": {"handle_id": handle, "bufb64": text}}).encode()
        client.send(line.ljust(size - 1) + b"\n")
    agent.process.send_signal(signal.SIGCONT)
    wait_for(lambda: (tmp_path / "out").read_bytes() == b"hello")


def test_one_command_does_not_take_all_workers(agent: AgentProcess, client: LineClient, tmp_path: Path) -> None:
    with contextlib.ExitStack() as open_files, agent.connect() as other:
        stuck = [StuckFile(tmp_path / f"fifo{number}") for number in range(20)]
        for number, file in enumerate(stuck):
            open_files.callback(file.close)
            handle = client.call("file-open", path=str(file.path), mode="w")
            # More than a pipe holds.
            data = base64.b64encode(bytes(1 << 17)).decode()
            client.ask("file-write", f"write{number}", handle_id=handle, bufb64=data)
        for each in (client, other):
            each.ask("file-stat", "stat", path="/")
            assert each.answer()["return"]["isdir"]
        other.ask("file-open", "open", path=str(tmp_path / "other"), mode="w")
        handle = other.answer()["return"]
        other.ask("file-write", "other", handle_id=handle, bufb64="")
        # Those that wait get a worker when others have finished, whichever client asked.
        for file in stuck:
            file.release(1 << 17)
        assert {client.answer()["tag"] for _ in stuck} == {f"write{number}" for number in range(20)}
        assert other.answer() == {"return": True, "tag": "other"}
