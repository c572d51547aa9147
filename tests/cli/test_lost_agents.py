"""The agent restarts, is killed or stops while phoenixctl waits for it, and QEMU keeps the connection open."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_ga.client import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT
from tests.cli.conftest import command_line, environment
from tests.cli.running_client import IMPATIENT, RunningClient
from tests.cli.waiting_clients import (
    WAITING,
    Start,
    start,
    start_cat,
    start_copy_from_guest,
    start_copy_of_directory,
)
from tests.ends.port import QemuPort
from tests.support import AgentProcess

BIG = 64 << 20


class Scene:
    """An agent behind a port of QEMU."""

    patience = 0
    preamble = IMPATIENT

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.there = str(directory)
        self.agent = AgentProcess(directory)
        self.port = QemuPort(directory, self.agent.socket_path)
        self.endpoint = self.port.endpoint
        self._server: socket.socket | None = None

    def kill(self) -> None:
        """Kill the agent, and what it has started."""
        children = self.agent.children()
        self.agent.process.kill()
        self.agent.process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def restart(self) -> None:
        """Kill the agent and start the next one."""
        self.kill()
        self.agent.restart()

    def pause(self) -> None:
        """Let the agent stand still, as that of a guest that is paused."""
        self.agent.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Stop the agent in order."""
        assert self.agent.stop() == 0

    def big_file_there(self, name: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(1 << 20) * (BIG >> 20))
        self.port.pause = 0.01

    big_file_here = big_file_there

    def exists(self, name: str) -> bool:
        return (self.directory / name).exists()

    def wait_until_copying(self, client: RunningClient) -> None:
        client.wait_for(lambda: self.port.passed > 1 << 20)

    @property
    def greeter(self) -> str:
        """Start an echo server; return its address."""
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"up")
            while data := connection.recv(100):
                connection.sendall(data)

    def close(self) -> None:
        """Close the echo server."""
        if self._server is not None:
            self._server.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with made.agent, made.port:
        yield made
        made.close()
        if made.agent.process.poll() is None:
            made.agent.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("begin", WAITING.values(), ids=WAITING.keys())
@pytest.mark.parametrize(
    "loss",
    [Scene.restart, Scene.kill, Scene.stop, Scene.pause],
    ids=["restarted", "killed", "stopped", "paused"],
)
def test_a_client_ends_when_its_agent_has_ended(scene: Scene, begin: Start, loss: Callable[[Scene], None]) -> None:
    is_told = loss is Scene.stop and begin not in (start_cat, start_copy_from_guest, start_copy_of_directory)
    if is_told:
        # On a busy machine, impatience might come first.
        scene.preamble = ""
    client = begin(scene)
    try:
        loss(scene)
    finally:
        status, text = client.status()
    assert status == 125, text
    assert not is_told or "the agent is stopping" in text


class Forward:
    """A `forward` to an echo server, and connections through it."""

    def __init__(self, scene: Scene) -> None:
        self._path = scene.directory / "forward.sock"
        self.client = start(scene, "forward", scene.endpoint, "-L", f"{self._path}:{scene.greeter}")
        self.client.wait_for_note()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self._path))
        assert connection.recv(2) == b"up"
        return connection

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()


@pytest.mark.parametrize("loss", [Scene.restart, Scene.kill], ids=["restarted", "killed"])
def test_a_forward_ends_when_a_connection_is_lost(scene: Scene, loss: Callable[[Scene], None]) -> None:
    with Forward(scene) as forward, forward.connect() as connection:
        loss(scene)
        assert connection.recv(1) == b""
        status, text = forward.client.status()
    assert status == 125, text


def test_a_forward_goes_on_with_the_next_agent_if_the_last_one_stopped_in_order(scene: Scene) -> None:
    with Forward(scene) as forward:
        with forward.connect() as connection:
            scene.stop()
            assert connection.recv(1) == b""
        scene.agent.restart()
        forward.connect().close()
        assert forward.client.process.poll() is None


def test_a_client_ends_within_20_seconds() -> None:
    assert KEEPALIVE_INTERVAL + 1.1 * KEEPALIVE_TIMEOUT < 18


@pytest.mark.soak
def test_a_client_ends_with_the_real_limits(scene: Scene) -> None:
    words = ("exec", scene.port.endpoint, "--", "sh", "-c", "echo up; exec sleep 60")
    with subprocess.Popen(
        command_line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        scene.kill()
        _, text = process.communicate(timeout=60)
    assert process.returncode == 125
    assert "the agent has not answered for" in text
