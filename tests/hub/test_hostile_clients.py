"""Clients that take what they can get: nothing of others, and no more than their share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from errno import ENOMEM
from pathlib import Path

import pytest

from phoenix_ga.client import connect
from phoenix_ga.hub.quotas import Quotas
from tests.ends.client import DATA, END, RESET, WINDOW, LineClient, encode_frame
from tests.hub.conftest import HubProcess, acting_as
from tests.support import AgentProcess, wait_for

MIB = 1024 * 1024


def pour(connection: socket.socket, piece: bytes, size: int) -> int:
    """Send a piece again and again, up to a size; stop if it is not taken for a while. Return what was sent."""
    connection.settimeout(2)
    sent = 0
    with contextlib.suppress(OSError):
        while sent < size:
            sent += connection.send(piece)
    return sent


@contextlib.contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        yield connection


class Holds:
    def __init__(self, held: int = 0) -> None:
        self.held = held


def test_a_user_has_a_bounded_number_of_connections() -> None:
    quotas = Quotas(connections_max=2)
    first = quotas.admit(1, Holds())
    assert first is not None
    assert quotas.admit(1, Holds()) is not None
    assert quotas.admit(1, Holds()) is None
    assert quotas.admit(2, Holds()) is not None
    first()
    assert quotas.admit(1, Holds()) is not None


def test_what_is_kept_for_a_user_is_bounded() -> None:
    quotas = Quotas(held_max=100)
    one, two, other = Holds(60), Holds(50), Holds(100)
    leave = [quotas.admit(1, one), quotas.admit(1, two), quotas.admit(2, other)]
    assert quotas.allows(1, one)
    assert quotas.allows(2, other)
    assert not quotas.allows(1, two)
    # It became less, which nobody was told.
    one.held = 50
    assert quotas.allows(1, two)
    two.held = 51
    assert not quotas.allows(1, two)
    assert leave[0] is not None
    leave[0]()
    assert quotas.allows(1, two)


def test_endless_lines_take_bounded_memory(hub: HubProcess) -> None:
    before = hub.memory()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(hub.socket("web1"))) for _ in range(4)]
        sent = [pour(connection, b'{"execute": "' + b"x" * MIB, 60 * MIB) for connection in connections]
        assert sum(sent) < 200 * MIB
        refused = LineClient(connections[sent.index(min(sent))])
        assert refused.answer()["error"]["code"] == ENOMEM
        with LineClient.connect(hub.socket("web1")) as client:
            assert client.call("ping")
    assert hub.memory("VmHWM") < before + 350 * MIB


def test_a_client_that_reads_no_answers_is_not_read_any_more(hub: HubProcess) -> None:
    before = hub.memory()
    with connected(hub.socket("web1")) as requests, connected(hub.directory / "hub" / "hub.sock") as control:
        assert pour(requests, b'{"execute": "ping", "tag": 1}\n' * 1000, 4 * MIB) < 4 * MIB
        assert pour(control, b'{"execute": "list"}\n' * 1000, 4 * MIB) < 4 * MIB
        with LineClient.connect(hub.socket("web1")) as client:
            assert client.call("ping")
        assert hub.ask("list")
    assert hub.memory("VmHWM") < before + 50 * MIB


def test_requests_of_the_control_socket_are_answered_in_order(hub: HubProcess) -> None:
    with connected(hub.directory / "hub" / "hub.sock") as control:
        for number in range(500):
            control.sendall(b'{"execute": "%s", "tag": %d}\n' % (b"list" if number % 2 else b"no-such", number))
        control.shutdown(socket.SHUT_WR)
        answers = [json.loads(line) for line in control.makefile("rb")]
    assert [answer["tag"] for answer in answers] == list(range(500))
    assert all(("return" in answer) == bool(answer["tag"] % 2) for answer in answers)


def test_frames_for_the_streams_of_others_have_no_effect(hub: HubProcess) -> None:
    def steal() -> None:
        with LineClient.connect(hub.socket("web1")) as thief:
            for kind, payload in ((DATA, b"stolen"), (WINDOW, b"\0\0\1\0"), (END, b"{}"), (RESET, b"{}")):
                thief.send(b"".join(encode_frame(kind, number, payload) for number in range(1, 300)))
            # Tags as those of the hub, and of the others.
            for number in range(1, 100):
                thief.ask("ping", f"hub-{number}")
            tags: list[str] = []
            while len(tags) < 99:
                unit = thief.whole_unit()
                if isinstance(unit, bytes):
                    tags.append(json.loads(unit)["tag"])
                else:
                    assert unit.type == RESET
            assert sorted(tags) == sorted(f"hub-{number}" for number in range(1, 100))

    async def story() -> None:
        content = os.urandom(2_000_000)
        async with connect(str(hub.socket("web1"))) as guest:
            process = await guest.exec(["cat"])
            for start in range(0, len(content), 200_000):
                await process.stdin.write(content[start : start + 200_000])
                received = b""
                while len(received) < 200_000:
                    received += await process.stdout.read(200_000 - len(received))
                assert received == content[start : start + 200_000]
                await asyncio.get_running_loop().run_in_executor(None, steal)
            await process.stdin.end()
            assert await process.wait() == 0

    asyncio.run(story())


@pytest.mark.soak
@pytest.mark.root
@pytest.mark.timeout(600)
def test_ten_thousand_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Most are turned away, all are told, and another user is served meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    guests = [f"web{number}" for number in range(50)]
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/run")))
        directory.chmod(0o755)
        agent = stack.enter_context(AgentProcess(directory))
        # The same port under many names, because the hub opens it only for those who may use it.
        config = '[[rule]]\nusers = ["nobody"]\nguests = ["web0"]\nallow = ["viewer"]\n'
        endpoints = {name: f"unix:{directory}/{name}.sock" for name in guests}
        endpoints["web0"] = f"unix:{agent.socket_path}"
        hub = stack.enter_context(HubProcess(directory, endpoints, config))
        before = hub.memory()
        connections = []
        for number in range(10_000):
            connections.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            connections[-1].settimeout(60)
            with acting_as("nobody"):
                connections[-1].connect(str(hub.socket(guests[number % len(guests)])))
            connections[-1].sendall(b'{"execute": "ping"')
        answers = [client.call("ping") for client in [stack.enter_context(LineClient.connect(hub.socket("web0")))]]
        assert answers
        assert len(hub.ask("list")) == len(guests)
        served = sum(guest["client_count"] for guest in hub.ask("list"))
        assert 4000 < served <= 4097
        grown = hub.memory() - before
        with capsys.disabled():
            print(f"\n10,000 connections, of which {served} are served: {grown / MIB:.0f} MiB", end="")
        assert grown < 200 * MIB
        for connection in connections:
            connection.close()
        wait_for(lambda: sum(guest["client_count"] for guest in hub.ask("list")) == 1)
