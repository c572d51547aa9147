"""Bytes that are no request cost the agent little, whatever they are, and other clients do not wait for them.

Work is counted, not timed: the calls of functions, of Python and of C, that the loop makes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.channel import Channel
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.protocol.conversation import Conversation
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.agent.protocol.scheduler import Scheduler
from tests.ends.client import DATA, LineClient, RefusedError, encode_frame
from tests.support import AgentProcess

SIZE = 8 * 1024 * 1024
# Calls while 8 MB are refused; most take 0.1 microseconds, some copy a buffer. And between two chances of
# other clients to be served.
CALLS_MAX = 600_000
CALLS_BETWEEN_MAX = 100_000
PATTERNS = [*(bytes((byte,)) for byte in range(256)), b"{}", b'{"', b"{'", b'\\"', b"'\"", b"{}\n", b"1\n", b"\xfb\n"]
# What costs most, and the bytes that mean something.
QUICK = [*b'{}[]"\\1 \n\xff\xfe\xfb\0,:']
DROPPED = "too much that is no request; dropping up to a line that may be one"
PING = b'{"execute": "ping"}\n'


class Work:
    """Counts calls, in all and between two passes of the loop."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self._since = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def pass_begins(self) -> None:
        self.most = max(self.most, self.calls - self._since)
        self._since = self.calls


class CountedLoop(Loop):
    """Counts the work of each pass."""

    def __init__(self) -> None:
        self.work = Work()
        super().__init__()

    def _wait(self) -> list[tuple[int, int]]:
        self.work.pass_begins()
        return super()._wait()


@contextlib.contextmanager
def conversation(directory: Path, qga_first: bool) -> Iterator[tuple[CountedLoop, socket.socket]]:
    """Serve one client in this thread; its end of the channel is a socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = CountedLoop()
    config = Config(run_directory=str(directory), state_directory=str(directory), speaks_qga_first=qga_first)
    context = Context(config, Policy(), Log(), Handles(4), loop, loop.stop)
    dispatcher = Dispatcher(context, NATIVE, lambda: QGA)
    dispatcher.load_needed(NATIVE)
    dispatcher.load_qga()
    channel = Channel(loop, ours.detach(), connected=True)
    talk = Conversation(Scheduler(dispatcher, loop, Workers(2)), channel, "port", lambda: None)
    channel.start(talk.received, talk.drained, loop.stop, lambda: None, lambda error: loop.stop())
    try:
        yield loop, theirs
    finally:
        channel.close()
        theirs.close()


class Client:
    """Sends bytes and reads answers, on the loop that serves it."""

    def __init__(self, loop: Loop, connection: socket.socket, data: bytes) -> None:
        self.answers = b""
        self._loop = loop
        self._socket = connection
        self._data = memoryview(data)
        loop.watch(connection.fileno(), self._happened, 1 | 4 | 1 << 31)

    def _happened(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._data:
                self._data = self._data[self._socket.send(self._data) :]
        with contextlib.suppress(BlockingIOError):
            while received := self._socket.recv(2**20):
                self.answers += received
        if __version__.encode() in self.answers[-200:]:
            self._loop.unwatch(self._socket.fileno())
            self._loop.stop()


def flood(directory: Path, pattern: bytes, length: int, qga_first: bool = False) -> tuple[Work, list[bytes]]:
    """Send 8 MB of a pattern, in lines of `length` bytes, and then a ping."""
    line = pattern * max(1, length // len(pattern)) + b"\n"
    data = line * (SIZE // len(line)) + b"\n" * 300_000 + b"\xff" + PING
    with conversation(directory, qga_first) as (loop, connection):
        client = Client(loop, connection, data)
        profile = sys.getprofile()
        sys.setprofile(loop.work)
        try:
            loop.run()
        finally:
            sys.setprofile(profile)
    return loop.work, client.answers.splitlines()


def check_flood(directory: Path, pattern: bytes, length: int, qga_first: bool) -> None:
    work, answers = flood(directory, pattern, length, qga_first)
    case = f"{pattern!r} in lines of {length}"
    assert work.calls < CALLS_MAX, case
    assert work.most < CALLS_BETWEEN_MAX, case
    assert len(answers) < 1100, case


@pytest.mark.parametrize("length", [SIZE, 1000, 1], ids=["one line", "lines of 1000", "lines of 1"])
@pytest.mark.parametrize("pattern", [bytes((byte,)) for byte in QUICK] + PATTERNS[256:], ids=repr)
def test_8_mb_of_a_pattern_take_a_limited_number_of_steps(tmp_path: Path, pattern: bytes, length: int) -> None:
    check_flood(tmp_path, pattern, length, qga_first=False)


@pytest.mark.soak
@pytest.mark.parametrize("qga_first", [False, True])
@pytest.mark.parametrize("length", [SIZE, 1000, 1], ids=["one line", "lines of 1000", "lines of 1"])
def test_8_mb_of_any_byte_take_a_limited_number_of_steps(tmp_path: Path, length: int, qga_first: bool) -> None:
    for pattern in PATTERNS:
        check_flood(tmp_path, pattern, length, qga_first)


def errors(client: LineClient) -> list[RefusedError]:
    """Return the errors up to the answer of a ping."""
    refused = []
    while "error" in (answer := client.answer()):
        refused.append(RefusedError(answer))
    assert answer == {"return": __version__}
    return refused


def test_a_flood_is_dropped_after_a_thousand_errors_and_the_next_request_is_answered(client: LineClient) -> None:
    client.send(b"login: \n" * 5000 + PING)
    refused = errors(client)
    assert len(refused) == 1001
    assert (refused[-1].code, refused[-1].text) == (74, DROPPED)
    # The client counts anew after a request.
    client.send(b"login: \n" * 1000 + PING)
    assert len(errors(client)) == 1000


def test_a_flood_of_objects_without_a_newline_is_dropped_up_to_a_newline(client: LineClient) -> None:
    client.send(b"{}" * 5000)
    for _ in range(1001):
        client.answer()
    client.send(b'{"execute": "ping"} {"execute"\n' + PING)
    assert errors(client) == []


def test_0xff_ends_a_flood(client: LineClient) -> None:
    client.send(b"{}" * 5000 + b"\xff" + PING)
    assert len(errors(client)) == 1001


def test_a_request_in_a_flood_is_found_in_whatever_pieces_it_arrives(client: LineClient) -> None:
    client.send(b"x\n" * 3000)
    for _ in range(1001):
        client.answer()
    for piece in (b"y\n" * 100_000, b'{"exe', b'cute": "pi', b'ng"}', b"\n"):
        client.send(piece)
        os.sched_yield()
    assert errors(client) == []


def test_each_line_that_may_be_a_request_is_answered_even_in_a_flood(client: LineClient) -> None:
    client.send(b'{"execute": 1}\n' * 3000 + PING)
    assert {error.text for error in errors(client)} == {"member 'execute' must be a string"}


def test_requests_that_are_refused_are_no_flood(client: LineClient) -> None:
    client.send(b'{"execute": "file-open"}\n' * 3000 + PING)
    assert len(errors(client)) == 3000


def test_frames_are_no_flood(client: LineClient) -> None:
    client.send((b"x\n" * 900 + encode_frame(DATA, 1, b"x\n" * 10)) * 3 + PING)
    for _ in range(3):
        for _ in range(900):
            assert RefusedError(client.answer()).code == -1
        client.wait_for_reset(1)
    assert client.answer() == {"return": __version__}


def test_the_next_client_of_a_flooded_agent_is_served(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.send(b"x\n" * 5000)
    with agent.connect() as client:
        assert client.call("ping") == __version__
