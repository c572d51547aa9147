"""The ends of streams without an agent: what they keep, and what they remove."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.endpoints import process_table as table_module
from phoenix_ga.agent.endpoints.descriptor import WINDOW, DescriptorEndpoint
from phoenix_ga.agent.endpoints.process import Process
from phoenix_ga.agent.endpoints.process_table import ProcessTable
from phoenix_ga.agent.endpoints.socket import ListeningEndpoint
from phoenix_ga.agent.operations.processes import spawn
from phoenix_ga.agent.operations.program_groups import ProgramGroup
from phoenix_ga.agent.operations.sockets import connect_unix, listen_unix
from phoenix_ga.agent.protocol.streams import Streams
from phoenix_ga.wire.streams import Data


def make_streams(loop: Loop) -> Streams:
    channel = SimpleNamespace(send=lambda pieces: None, output_size=0)
    return Streams(loop, Workers(1), cast(Any, channel), Throttle(), 100, count(1).__next__)


def run_until(loop: Loop, condition: Callable[[], bool]) -> None:
    def check() -> None:
        if condition():
            loop.stop()
        else:
            loop.call_later(0.005, check)

    loop.call_soon(check)
    loop.run()


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGCHLD)
    yield Loop()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def test_a_sink_keeps_bytes_and_not_frames(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    streams = make_streams(loop)
    fd = ours.detach()
    endpoint = DescriptorEndpoint(fd, fd)
    streams.open(endpoint, 0).start()
    tracemalloc.start()
    try:
        for _ in range(WINDOW):
            endpoint.received(Data(b"x"))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        streams.close()
        theirs.close()
    assert kept < 2 * WINDOW


def start(table: ProcessTable, *argv: str, detached: bool = True) -> Process:
    return Process(table, spawn(argv, {}), ProgramGroup("", ""), argv, "", detached)


def attach_and_leave(loop: Loop, table: ProcessTable, process: Process, data: bytes = b"") -> int:
    """Be a client of a process that sends data; return how many bytes it was allowed to send."""
    streams = make_streams(loop)
    opened = streams.open_all({**process.endpoints}, 0)
    window = process.main.window
    for stream in opened.values():
        stream.start()
    process.main.received(Data(data[:window]))
    # What can be written is.
    run_until(loop, lambda: True)
    allowed = opened["stream"].stream.room
    streams.close()
    return allowed


def test_attaching_again_and_again_grants_no_more_than_one_window(loop: Loop) -> None:
    table = ProcessTable(loop)
    process = start(table, "sleep", "60")
    data = bytes(WINDOW)
    attach_and_leave(loop, table, process, data)
    for _ in range(20):
        attach_and_leave(loop, table, table.attach(process.pid), data)
    # Besides what the pipe took.
    assert len(process.main._pending) <= WINDOW + 20
    process.signal(signal.SIGKILL)
    run_until(loop, lambda: process.outcome is not None)
    table.forget(process)
    assert table.all() == []


def test_what_an_earlier_client_sent_counts_against_the_window_of_the_next(loop: Loop) -> None:
    table = ProcessTable(loop)
    process = start(table, "sleep", "60")
    attach_and_leave(loop, table, process, bytes(WINDOW))
    # The pipe of a detached process takes two windows.
    for size in (WINDOW, 1000):
        attach_and_leave(loop, table, table.attach(process.pid), bytes(size))
    waiting = len(process.main._pending)
    assert waiting > 0
    table.attach(process.pid)
    assert process.main.window == max(1, WINDOW - waiting)
    process.signal(signal.SIGKILL)
    run_until(loop, lambda: process.outcome is not None)


def test_a_detached_program_that_ended_gives_way_to_a_new_one(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "DETACHED_MAX", 3)
    table = ProcessTable(loop)
    first, second, third = (start(table, "true") for _ in range(3))
    with pytest.raises(OSError, match="3 processes are detached") as caught:
        table.make_room()
    assert caught.value.errno == errno.EAGAIN
    for process in (second, first, third):
        attach_and_leave(loop, table, process)
        run_until(loop, lambda process=process: process.outcome is not None)  # type: ignore[misc]
    table.make_room()
    assert table.all() == [first, third]
    fourth = start(table, "sleep", "60")
    table.make_room()
    assert table.all() == [fourth, third]
    # Nothing is left of it, whichever way it is looked for.
    with pytest.raises(ProcessLookupError):
        table.attach(second.pid)
    fourth.signal(signal.SIGKILL)
    run_until(loop, lambda: fourth.outcome is not None)


def test_what_is_at_the_path_of_a_socket_by_then_stays(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    ours, file = listen_unix(str(path))
    endpoint = ListeningEndpoint(ours, 0, file)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen()
        endpoint.closed(loop, Workers(1))
        connect_unix(str(path), 5).close()
    path.unlink()
    ours, file = listen_unix(str(path))
    ListeningEndpoint(ours, 0, file).closed(loop, Workers(1))
    assert not path.exists()


def read_to_end(fd: int) -> bytes:
    data = b""
    os.set_blocking(fd, True)
    # A terminal ends with EIO when no process has its other side open.
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, 4096):
            data += chunk
    return data


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("terminal", [(24, 80), None])
def test_pipes_and_the_terminal_belong_to_the_user(loop: Loop, terminal: tuple[int, int] | None) -> None:
    table = ProcessTable(loop)
    script = "echo out >/dev/stdout; echo problem >/dev/stderr; stat -L -c %U /dev/stdin"
    child = spawn(["sh", "-c", script], {}, "nobody", "/", terminal)
    process = Process(table, child, ProgramGroup("", ""))
    process.watch()
    run_until(loop, lambda: process.outcome is not None)
    assert process.outcome == {"status": 0}
    # The kernel passes on what was written to a terminal a little later.
    output = b"".join(read_to_end(fd) for fd in ([child.stdout] if terminal else [child.stdout, child.stderr]))
    assert output.split() == ([b"out", b"problem", b"nobody"] if terminal else [b"out", b"nobody", b"problem"])
    for endpoint in process.endpoints.values():
        endpoint.close_all()
