"""What is found out about guests: those that answer, and all the others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.client.host_sockets import held_paths
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.probe import ANSWERS, BUSY, GONE, NOT_AN_AGENT, SILENT, GuestState, probe, probe_guests
from phoenix_ga.testing.mock_agent import until_it_leaves
from tests.support import AgentProcess, wait_for


def known(path: Path) -> KnownGuest:
    return KnownGuest(path.stem, f"unix:{path}", "a test")


def state_of(path: Path, timeout: float = 3) -> GuestState:
    return asyncio.run(probe(known(path), timeout, held_paths()))


def test_our_agent_tells_all(agent: AgentProcess) -> None:
    state = state_of(agent.socket_path)
    assert (state.state, state.dialect, state.version) == (ANSWERS, "phoenix", __version__)
    assert state.system
    assert state.uptime is not None
    assert abs(state.uptime - float(Path("/proc/uptime").read_text().split()[0])) < 60


def test_our_agent_tells_what_its_policy_lets_it(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, config="[general]\nblock = sysinfo\n") as agent:
        state = state_of(agent.socket_path)
    assert (state.state, state.dialect, state.version, state.uptime) == (ANSWERS, "phoenix", __version__, None)


def test_qemus_agent_is_known_as_such(tmp_path: Path) -> None:
    program = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs qemu-ga")
    path = tmp_path / "ga.sock"
    with subprocess.Popen(
        [program, "-m", "unix-listen", "-p", path, "-t", tmp_path], stderr=subprocess.DEVNULL
    ) as run:
        try:
            while not path.exists():
                time.sleep(0.05)
            state = state_of(path)
        finally:
            run.kill()
    assert (state.state, state.dialect, state.uptime) == (ANSWERS, "qemu-ga", None)
    assert state.version.count(".") == 2
    assert "Debian" in state.system


def test_nobody_is_there(tmp_path: Path) -> None:
    assert state_of(tmp_path / "none.sock").state == GONE


def test_somebody_who_takes_all_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        state = state_of(tmp_path / "silent.sock", 0.3)
    assert (state.state, state.detail) == (SILENT, "no answer in 0.3 seconds")


def serve(path: Path, said: bytes, *, times: int = 1) -> GuestState:
    """Return the state of a guest that says this, whatever it is asked; `%d` is the number of the first request."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with until_it_leaves(writer):
            asked = json.loads((await reader.readline()).lstrip(b"\xff"))
            data = said.replace(b"%d", b"%d" % asked["arguments"]["id"])
            for _ in range(times):
                writer.write(data)
                await writer.drain()

    async def conversation() -> GuestState:
        server = await asyncio.start_unix_server(reply, path)
        try:
            return await probe(known(path), 5)
        finally:
            server.close()

    return asyncio.run(conversation())


SYNCED = b'\xff{"return": %d}\n'


@pytest.mark.parametrize(
    ("said", "times"),
    [
        (b"", 1),
        (b"garbage\n", 1),
        (b"\0\xfe{[\n" * 10_000, 1_000),
        (b'{"return": 1}\n' * 10_000, 100),
        (SYNCED, 1),
        (SYNCED + b'{"return": {}}\n' * 100, 1),
        (SYNCED + b'{"return": {"supported_commands": 1, "version": ["x"]}, "tag": {}}\n' * 50, 1),
        (SYNCED + b"x" * 1_000_000, 100),
        (SYNCED + b"[" * 60_000 + b"\n", 1),
        (SYNCED + b'{"error": null, "tag": "probe-ping"}\n' * 3, 1),
    ],
)
def test_a_guest_that_says_what_no_agent_says_is_not_an_agent(tmp_path: Path, said: bytes, times: int) -> None:
    assert serve(tmp_path / "other.sock", said, times=times).state == NOT_AN_AGENT


@pytest.fixture
def paused_qemu(tmp_path: Path) -> Iterator[Path]:
    """The socket of a QEMU that runs no guest, and serves one client at a time as all do."""
    path = tmp_path / "port.sock"
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-m", "64", "-name", "paused"]
    command += ["-chardev", f"socket,id=a,path={path},server=on,wait=off", "-device", "virtio-serial"]
    command += ["-device", "virtserialport,chardev=a,name=org.guest-agent.0"]
    with subprocess.Popen(command) as running:
        while not path.exists():
            assert running.poll() is None
            time.sleep(0.05)
        yield path
        running.kill()


def test_a_port_that_another_client_has_is_busy_and_else_it_is_silent(paused_qemu: Path) -> None:
    assert state_of(paused_qemu, 0.5).state == SILENT
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paused_qemu))
        wait_for(lambda: str(paused_qemu) in held_paths())
        state = state_of(paused_qemu, 0.5)
        assert state.state == BUSY
        assert f"(process {os.getpid()})" in state.detail
    # The server has room for one client that it has not accepted yet.
    wait_for(lambda: state_of(paused_qemu, 0.5).state == SILENT)


def test_many_are_asked_at_once(agent: AgentProcess, tmp_path: Path) -> None:
    async def ask() -> list[GuestState]:
        guests = [known(agent.socket_path)] * 20 + [known(tmp_path / "silent.sock")] * 60
        return [state async for state in probe_guests(guests, 0.5)]

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen(128)
        states = asyncio.run(ask())
    assert [state.state for state in states].count(ANSWERS) == 20
    assert [state.state for state in states].count(SILENT) == 60
