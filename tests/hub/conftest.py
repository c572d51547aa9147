"""A real hub in front of real agents."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import SOURCE, TIMEOUT, AgentProcess, wait_for


class HubProcess:
    """`phoenix-hub` as a process of this machine, in front of the guests that `guests` names."""

    def __init__(self, directory: Path, guests: dict[str, str], config: str = "") -> None:
        self.directory = directory
        self.log_path = directory / "hub.log"
        self.config_path = directory / "hub.toml"
        self.config_path.write_text(config)
        self.inventory = directory / "xdg" / "phoenix" / "config.toml"
        self.inventory.parent.mkdir(parents=True, exist_ok=True)
        self.write_guests(guests)
        self.process = self._start()

    def write_guests(self, guests: dict[str, str]) -> None:
        lines = [f'"{name}" = "{endpoint}"' for name, endpoint in guests.items()]
        self.inventory.write_text("\n".join(["sources = []", "[guests]", *lines, ""]))

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "phoenix_ga.hub"),
                    *("--config", str(self.config_path), "--directory", str(self.directory / "hub")),
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(SOURCE), "XDG_CONFIG_HOME": str(self.directory / "xdg")},
            )
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                self.ask("status")
                return process
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise RuntimeError(f"the hub did not start:\n{self.log_path.read_text()}") from None
                time.sleep(0.02)

    def __enter__(self) -> HubProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def socket(self, guest: str) -> Path:
        return self.directory / "hub" / "guests" / f"{guest}.sock"

    def ask(self, execute: str, **arguments: str) -> Any:
        """Return the hub's answer on its control socket; an error as it was sent."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(self.directory / "hub" / "hub.sock"))
            connection.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline())
        return answer.get("return", answer)

    def audit(self) -> list[dict[str, Any]]:
        """Return the lines of the record."""
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def state(self, guest: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.ask("list") if each["name"] == guest)
        return found

    def memory(self, name: str = "VmRSS") -> int:
        """Return its memory in bytes; VmHWM: the most so far."""
        return 1024 * self._figure(name)

    def wake_ups(self) -> int:
        """Return how often it has gone to sleep so far."""
        return self._figure("voluntary_ctxt_switches")

    def comes_to_rest(self, seconds: float) -> bool:
        """Return whether it sleeps for so long, now or soon: what was begun before may not have ended yet."""
        for _ in range(5):
            before = self.wake_ups()
            time.sleep(seconds)
            if self.wake_ups() == before:
                return True
        return False

    def _figure(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)

    def restart(self) -> None:
        self.process.wait(TIMEOUT)
        self.process = self._start()

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(TIMEOUT)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as process:
        yield process


@pytest.fixture
def hub(tmp_path: Path, agent: AgentProcess) -> Iterator[HubProcess]:
    with HubProcess(tmp_path, {"web1": f"unix:{agent.socket_path}"}) as process:
        yield process


def wait_for_state(hub: HubProcess, guest: str, state: str) -> None:
    wait_for(lambda: hub.state(guest)["state"] == state)


@contextlib.contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Let the kernel take this process for one of a user without further groups."""
    groups, entry = os.getgroups(), pwd.getpwnam(user)
    os.setgroups([])
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextlib.contextmanager
def crowd(directory: Path, count: int) -> Iterator[list[str]]:
    """Listen for so many guests; their endpoints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.crowd", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=SOURCE.parent,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([(str(number), "honest") for number in range(count)]).encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield [f"unix:{directory}/{number}.sock" for number in range(count)]
        process.kill()


def environment(hub: HubProcess) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "XDG_CONFIG_HOME": str(hub.directory / "xdg"),
        "PHOENIX_HUB_DIRECTORY": str(hub.directory / "hub"),
    }


def phoenixctl(hub: HubProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phoenix_ga.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(hub),
    )
