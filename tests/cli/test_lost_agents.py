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
from tests.ends.port import QemuPort
from tests.support import AgentProcess, wait_for

BIG = 64 << 20


class Scene:
    """An agent behind a port of QEMU."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agent = AgentProcess(directory)
        self.port = QemuPort(directory, self.agent.socket_path)

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

    def big_file(self, name: str) -> Path:
        path = self.directory / name
        path.write_bytes(os.urandom(1 << 20) * (BIG >> 20))
        self.port.pause = 0.01
        return path


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with made.agent, made.port:
        yield made
        if made.agent.process.poll() is None:
            made.agent.process.send_signal(signal.SIGCONT)


def impatient(*words: str, terminal: bool = False) -> RunningClient:
    return RunningClient("-c", IMPATIENT, *words, terminal=terminal)


def start_exec(scene: Scene) -> RunningClient:
    client = impatient("exec", scene.port.endpoint, "--", "sh", "-c", "echo up; exec sleep 60")
    client.wait_for_output()
    return client


def start_exec_with_input(scene: Scene) -> RunningClient:
    client = impatient("exec", "-i", scene.port.endpoint, "--", "sh", "-c", "echo up; exec cat")
    client.wait_for_output()
    return client


def start_shell(scene: Scene) -> RunningClient:
    client = impatient("shell", scene.port.endpoint, "-e", "PS1=prompt", terminal=True)
    client.wait_for_output()
    return client


def start_attach(scene: Scene) -> RunningClient:
    words = ("exec", "-d", scene.port.endpoint, "--", "sh", "-c", "echo up; exec sleep 60")
    started = subprocess.run(command_line(*words), env=environment(), capture_output=True, text=True, timeout=20)
    client = impatient("attach", scene.port.endpoint, started.stdout.strip())
    client.wait_for_output()
    return client


def start_proxy(scene: Scene) -> RunningClient:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = impatient("proxy", scene.port.endpoint, f"127.0.0.1:{server.getsockname()[1]}")
        accepted, _ = server.accept()
    with accepted:
        accepted.sendall(b"up")
        client.wait_for_output()
        # The agent keeps its end of the connection; it is ours that need not be kept.
        accepted.detach()
    return client


def start_forward_from_guest(scene: Scene) -> RunningClient:
    path = scene.directory / "listening.sock"
    client = impatient("forward", scene.port.endpoint, "-R", f"{path}:127.0.0.1:1")
    client.wait_for_note()
    return client


def start_cat(scene: Scene) -> RunningClient:
    client = impatient("cat", f"{scene.port.endpoint}:{scene.big_file('big')}")
    client.wait_for_output()
    return client


def start_copy_from_guest(scene: Scene) -> RunningClient:
    client = impatient("cp", f"{scene.port.endpoint}:{scene.big_file('big')}", str(scene.directory / "copy"))
    wait_for(lambda: scene.port.passed > 1 << 20)
    return client


def start_copy_to_guest(scene: Scene) -> RunningClient:
    client = impatient("cp", str(scene.big_file("big")), f"{scene.port.endpoint}:{scene.directory}/copy")
    wait_for(lambda: scene.port.passed > 1 << 20)
    return client


def start_copy_of_directory(scene: Scene) -> RunningClient:
    (scene.directory / "tree").mkdir()
    scene.big_file("tree/big")
    client = impatient("cp", "-r", f"{scene.port.endpoint}:{scene.directory}/tree", str(scene.directory / "copied"))
    wait_for(lambda: scene.port.passed > 1 << 20)
    return client


def start_tee(scene: Scene) -> RunningClient:
    client = impatient("tee", f"{scene.port.endpoint}:{scene.directory}/new")
    assert client.process.stdin is not None
    client.process.stdin.write(b"something")
    client.process.stdin.flush()
    client.wait_for_output()
    return client


WAITING: dict[str, Callable[[Scene], RunningClient]] = {
    "exec": start_exec,
    "exec -i": start_exec_with_input,
    "shell": start_shell,
    "attach": start_attach,
    "proxy": start_proxy,
    "forward -R": start_forward_from_guest,
    "cat": start_cat,
    "cp from the guest": start_copy_from_guest,
    "cp to the guest": start_copy_to_guest,
    "cp -r": start_copy_of_directory,
    "tee": start_tee,
}


@pytest.mark.parametrize("start", WAITING.values(), ids=WAITING.keys())
@pytest.mark.parametrize(
    "loss",
    [Scene.restart, Scene.kill, Scene.stop, Scene.pause],
    ids=["restarted", "killed", "stopped", "paused"],
)
def test_a_client_ends_when_its_agent_has_ended(
    scene: Scene, start: Callable[[Scene], RunningClient], loss: Callable[[Scene], None]
) -> None:
    client = start(scene)
    try:
        loss(scene)
    finally:
        status, text = client.status()
    assert status == 125, text
    if loss is Scene.stop and start not in (start_cat, start_copy_from_guest, start_copy_of_directory):
        assert "the agent is stopping" in text


class Forward:
    """A `forward` to an echo server, and a connection through it."""

    def __init__(self, scene: Scene) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._echo, daemon=True).start()
        self._path = scene.directory / "forward.sock"
        port = self._server.getsockname()[1]
        self.client = impatient("forward", scene.port.endpoint, "-L", f"{self._path}:127.0.0.1:{port}")
        self.client.wait_for_note()

    def _echo(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._echo_one, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo_one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self._path))
        connection.sendall(b"up")
        assert connection.recv(2) == b"up"
        return connection

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
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
