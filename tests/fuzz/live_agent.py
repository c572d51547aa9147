"""A live agent in a sandbox, fed with rounds of random input, and what must hold after each."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from phoenix_ga import __version__
from phoenix_ga.wire.units import resync_padding
from tests.ends.client import LineClient, RefusedError, encode_request
from tests.fuzz.requests import Known, Requests
from tests.fuzz.rounds import chance
from tests.support import AgentProcess

INPUTS_PER_ROUND: Final = 250
#: How much more memory an agent may take than after its first rounds, in bytes.
GROWTH_MAX: Final = 4 * 1024 * 1024
# An agent on a busy machine may need this long for anything, in seconds.
_PATIENCE: Final = 60.0
# CPU that the agent may spend on a ping after `sync`, in seconds.
_PING_MAX: Final = 1.0
_PIECE: Final = 200_000
_UNIT: Final = Path(__file__).parents[2] / "packaging" / "systemd" / "phoenix-ga.service"
_ANSWERS_KEPT: Final = 2_000_000

_NUMBER: Final = re.compile(rb'\{"return": (\d+)[,}]')
_PID: Final = re.compile(rb'"pid": (\d+)')
_STREAM: Final = re.compile(rb'"(?:stream|stderr)": (\d+)')


class Broken(Exception):
    """The agent did not hold what it must."""


class LiveAgent:
    """An agent that is fuzzed.

    Attributes:
        agent: Its process.
        directory: The only one where it can write.
        worst_ping: The longest time that a ping took after `sync`, in seconds.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worst_ping = 0.0
        # Requests also name the parent of the files.
        self._files = directory / "parent" / "files"
        self._make_files()
        agent = directory / "agent"
        agent.mkdir()
        self.agent = AgentProcess(
            agent, wrapper=("-m", "tests.fuzz.sandbox", f"{self._files}:{agent}"), environment=_unit_environment()
        )
        with self.agent.connect() as client:
            self._closed = client.call("file-open", path="/dev/null")
            client.call("file-close", handle_id=self._closed)
            self._guest_closed = _ask(client, "guest-file-open", {"path": "/dev/null"})["return"]
            _ask(client, "guest-file-close", {"handle": self._guest_closed})
        self.started = self.state()

    def __enter__(self) -> LiveAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self.agent.__exit__(*error)

    def _make_files(self) -> None:
        """Make the files that requests name, again if a request has removed them, and no others."""
        for path in self._files.iterdir() if self._files.exists() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        (self._files / "tree" / "x").mkdir(parents=True)
        (self._files / "big").write_bytes(bytes(range(256)) * 1000)
        (self._files / "small").write_bytes(b"small\n")
        (self._files / "link").symlink_to("small")
        (self._files / "dangling").symlink_to("nowhere")

    def inputs(self, seed: int, number: int) -> list[bytes]:
        """Return the inputs of a round as `run` sends them if numbers of handles and streams are not known."""
        requests = Requests(chance(seed, number), Known(str(self._files)))
        return [*requests.openings(), *(requests.input() for _ in range(INPUTS_PER_ROUND))]

    def run(self, seed: int, number: int) -> None:
        """Run a round. Raises Broken if the agent does not recover from it."""
        source = chance(seed, number)
        known = Known(str(self._files))
        requests = Requests(source, known)
        with self._connect() as connection:
            openings = requests.openings()
            answers = self._exchange(connection, b"".join(openings), len(openings))
            known.handles += map(int, _NUMBER.findall(answers))
            known.streams += map(int, _STREAM.findall(answers))
            known.pids += map(int, _PID.findall(answers))
            inputs = [requests.input() for _ in range(INPUTS_PER_ROUND)]
            self._feed(connection, inputs, answers, hang_up=source.random() < 0.2)

    def replay(self, inputs: Sequence[bytes]) -> None:
        """Send inputs as they are. Raises Broken if the agent does not recover from them."""
        with self._connect() as connection:
            self._feed(connection, inputs, b"", hang_up=False)

    def _feed(self, connection: socket.socket, inputs: Sequence[bytes], answers: bytes, hang_up: bool) -> None:
        answers += self._exchange(connection, b"".join(inputs), 0)
        if not hang_up:
            self._check_sync(connection)
        connection.close()
        self._clean_up(answers)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.agent.socket_path))
        connection.setblocking(False)
        return connection

    def _exchange(self, connection: socket.socket, data: bytes, lines: int, mark: bytes = b"") -> bytes:
        """Send data, read until there are so many lines and `mark`, and return the last of what was read."""
        rest = memoryview(data)
        answers = bytearray()
        deadline = time.monotonic() + _PATIENCE
        while rest or answers.count(b"\n") < lines or mark not in answers:
            writes = [connection] if rest else []
            readable, writable, _ = select.select([connection], writes, [], 1)
            if time.monotonic() > deadline:
                raise Broken(f"the agent neither reads nor answers: {bytes(answers[-200:])!r}")
            try:
                if readable:
                    if not (received := connection.recv(_PIECE)):
                        raise Broken("the agent closed the connection")
                    answers += received
                    del answers[:-_ANSWERS_KEPT]
                if writable:
                    rest = rest[connection.send(rest[:_PIECE]) :]
            except BlockingIOError:
                pass
            except OSError as error:
                raise Broken(f"the agent closed the connection: {error}") from None
        return bytes(answers)

    def _check_sync(self, connection: socket.socket) -> None:
        number = time.monotonic_ns()
        sync = resync_padding() + b"\xff" + encode_request("sync", {"id": number})
        self._exchange(connection, sync, 0, b'\xff{"return": %d}\n' % number)
        began, spent = time.monotonic(), self._cpu()
        self._exchange(connection, encode_request("ping", tag="alive"), 1, __version__.encode())
        self.worst_ping = max(self.worst_ping, time.monotonic() - began)
        if self._cpu() - spent > _PING_MAX:
            raise Broken(f"the agent spent {self._cpu() - spent:.1f} s on a ping after sync")

    def _cpu(self) -> float:
        return int(Path(f"/proc/{self.agent.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def _clean_up(self, answers: bytes) -> None:
        """Give back what the round has opened, as a client does."""
        with LineClient.connect(self.agent.socket_path) as client:
            client.socket.settimeout(_PATIENCE)
            client.sync(time.monotonic_ns())
            # A freeze of nothing may have succeeded.
            _try(client, "fs-unfreeze")
            for process in client.call("exec-list"):
                _try(client, "exec-signal", pid=process["pid"], signal=9)
            # Handles count up, and the answers that named them may be lost.
            last = client.call("file-open", path="/dev/null")
            for handle in range(self._closed, last + 1):
                _ask(client, "file-close", {"handle_id": handle})
            self._closed = last
            last = _ask(client, "guest-file-open", {"path": "/dev/null"})["return"]
            for handle in range(self._guest_closed, last + 1):
                _ask(client, "guest-file-close", {"handle": handle})
            self._guest_closed = last
            for pid in set(_PID.findall(answers)):
                deadline = time.monotonic() + _PATIENCE
                while _is_running(client, int(pid)):
                    if time.monotonic() > deadline:
                        raise Broken(f"process {int(pid)} does not end")
                    time.sleep(0.01)
        self._wait_until("no child is left", lambda: not self.agent.children())
        # One with a name of its own is kept, so that it can be continued.
        self._wait_until("no half a file is left", lambda: not any(self._files.rglob("*~*.phoenix-part")))
        self._wait_until("its files can be made", self._try_to_make_files)

    def _try_to_make_files(self) -> bool:
        self._make_files()
        return True

    def _wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            # A request that was sent before `sync` may still be running, and remove files.
            with contextlib.suppress(OSError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise Broken(f"waited in vain until {what}")
            time.sleep(0.005)

    def state(self) -> dict[str, int]:
        """Return how much the idle agent holds of each thing."""
        pid = self.agent.process.pid
        return {
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
            "children": len(self.agent.children()),
        }

    def check_nothing_left(self, memory: int) -> None:
        """Raise Broken if the agent holds more than at its start. memory: the limit, in bytes."""
        deadline = time.monotonic() + _PATIENCE
        # An idle agent keeps two workers, and two libraries that it loads late hold a descriptor each.
        more = {"threads": 3, "descriptors": 2, "children": 0}
        limits = {name: count + more[name] for name, count in self.started.items()}
        while True:
            state = self.state()
            over = {name: count for name, count in state.items() if count > limits[name]}
            if not over and self.agent.memory() <= memory:
                return
            if time.monotonic() > deadline:
                raise Broken(f"left behind: {over}; memory {self.agent.memory()}, at most {memory} expected")
            time.sleep(0.05)


def _unit_environment() -> dict[str, str]:
    """Return the variables that the shipped unit sets: without them, the C library keeps more of what is freed."""
    lines = _UNIT.read_text().splitlines()
    settings = " ".join(line.partition("=")[2] for line in lines if line.startswith("Environment="))
    return dict(setting.split("=", 1) for setting in settings.split())


def _ask(client: LineClient, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    client.send(encode_request(name, arguments))
    return client.answer()


def _is_running(client: LineClient, pid: int) -> bool:
    status = _ask(client, "guest-exec-status", {"pid": pid}).get("return", {})
    return status.get("exited") is False


def _try(client: LineClient, name: str, **arguments: Any) -> None:
    with contextlib.suppress(RefusedError):
        client.call(name, **arguments)
