"""The agent restarts, stops or is killed, or the guest is reset or paused, while clients of all kinds wait for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.agent.options.table import CONFIG_PATH
from tests.cli.running_client import RunningClient
from tests.cli.waiting_clients import WAITING, Start, start_exec, start_forward
from tools.guest import agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

ALL: dict[str, Start] = {**WAITING, "forward -L": start_forward}
SOME: dict[str, Start] = {"exec": start_exec}
#: A port takes one client at a time.
PORTS = [f"org.guest-agent.{number}" for number in range(len(ALL))]
THERE = "/root/there"
BIG = 64
# Says "up" to each client, then echoes.
GREETER = """
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"up")
        while data := self.request.recv(100):
            self.request.sendall(data)
socketserver.ThreadingTCPServer(("127.0.0.1", 4000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    ports = ", ".join(f"/dev/virtio-ports/{name}" for name in PORTS)
    files[CONFIG_PATH] = f"[general]\nport = {ports}\n".encode()
    with Machine(files=files, ports=PORTS) as machine:
        yield machine


class GuestPlace:
    """One port of the guest's agent."""

    greeter = "127.0.0.1:4000"
    preamble = ""

    def __init__(self, machine: Machine, port: str, directory: Path, patience: int) -> None:
        directory.mkdir()
        self.directory = directory
        self.endpoint = f"unix:{machine.socket(port)}"
        self.there = f"{THERE}/{port}"
        self.patience = patience
        self._machine = machine
        machine.run(f"mkdir -p {self.there}/tree")

    def big_file_there(self, name: str) -> None:
        self._machine.run(f"ln -f {THERE}/big {self.there}/{name}")

    def big_file_here(self, name: str) -> None:
        (self.directory / name).write_bytes(os.urandom(BIG << 20))

    def exists(self, name: str) -> bool:
        return self._machine.run(f"test -e {self.there}/{name}", check=False).status == 0

    def wait_until_copying(self, client: RunningClient) -> None:
        client.wait_for(lambda: self._position(client.process.pid) > 1 << 20)
        # So that the rest is not copied before anything happens.
        client.process.send_signal(signal.SIGSTOP)

    def _position(self, pid: int) -> int:
        """Return the largest position in the files of a client."""
        found = 0
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(link).startswith(f"{self.directory}/"):
                    information = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                    found = max(found, int(information.split()[1]))
        return found


@contextlib.contextmanager
def waiting(
    machine: Machine, directory: Path, kinds: dict[str, Start], patience: int = 0
) -> Iterator[dict[str, RunningClient]]:
    """Let clients wait for the agent, each on a port of its own."""
    for port in PORTS:
        wait_for_agent(machine.socket(port))
    machine.run(f"mkdir -p {THERE} && cd {THERE} && rm -rf * && head -c {BIG}M /dev/urandom > big")
    machine.run("systemctl stop greeter; systemctl reset-failed greeter", check=False)
    machine.run(f"systemd-run -q --unit=greeter python3 -c '{GREETER}'")
    machine.run("until ss -tln | grep -q :4000; do sleep 0.1; done")
    clients: dict[str, RunningClient] = {}
    try:
        for port, (kind, start) in zip(PORTS, kinds.items()):
            clients[kind] = start(GuestPlace(machine, port, directory / port, patience))
        yield clients
    finally:
        for client in clients.values():
            client.close()
        machine.run("pkill -f '[s]leep 600'", check=False)


LOSSES: dict[str, Callable[[Machine], object]] = {
    "restarted": lambda machine: machine.run("systemctl restart phoenix-ga"),
    "killed": lambda machine: machine.run("systemctl kill -s KILL phoenix-ga"),
    "killed for good": lambda machine: machine.run("systemctl mask --now --runtime phoenix-ga"),
    "reset": lambda machine: machine.reset(),
    "paused": lambda machine: machine.pause(),
}


def check_all_end(clients: dict[str, RunningClient]) -> None:
    """Check that all clients end with 125. Prints how long each took."""
    begin = time.monotonic()
    for client in clients.values():
        client.process.send_signal(signal.SIGCONT)
    wrong = {}
    for kind, client in clients.items():
        # Three times what it should take on a machine that does nothing else.
        status, text = client.status(60)
        print(f"{kind}: {status} after {time.monotonic() - begin:.1f} s: {text.strip()}")
        if status != 125:
            wrong[kind] = status, text
    assert not wrong


@pytest.mark.parametrize(
    ("loss", "kinds"),
    [
        *((loss, ALL if loss == "killed" else SOME) for loss in LOSSES),
        *(pytest.param(loss, ALL, marks=pytest.mark.soak) for loss in LOSSES if loss != "killed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "all" if value is ALL else "exec",
)
def test_clients_end_when_the_guest_is_gone(
    machine: Machine, tmp_path: Path, loss: str, kinds: dict[str, Start]
) -> None:
    with waiting(machine, tmp_path, kinds) as clients:
        try:
            LOSSES[loss](machine)
            check_all_end(clients)
        finally:
            machine.resume()
            machine.run("systemctl unmask --runtime phoenix-ga && systemctl start phoenix-ga")


def exited(status: int) -> Callable[[RunningClient], None]:
    def check(client: RunningClient) -> None:
        assert client.status(120)[0] == status

    return check


def finish_shell(client: RunningClient) -> None:
    os.write(client.master, b"exit 3\n")
    exited(3)(client)


def finish_input(client: RunningClient) -> None:
    assert client.process.stdin is not None
    client.process.stdin.close()
    exited(0)(client)


def finish_forward(client: RunningClient) -> None:
    assert client.connection is not None
    client.connection.sendall(b"more")
    assert client.connection.recv(4) == b"more"


def is_running(client: RunningClient) -> None:
    assert client.process.poll() is None


#: How each of them goes on, once what it waits for has ended.
FINISH: dict[str, Callable[[RunningClient], None]] = {
    "exec": exited(128 + signal.SIGTERM),
    "exec -i": finish_input,
    "run()": exited(0),
    "shell": finish_shell,
    "attach": exited(128 + signal.SIGTERM),
    "proxy": finish_input,
    "forward -L": finish_forward,
    "forward -R": is_running,
    "cat": exited(0),
    "cp from the guest": exited(0),
    "cp to the guest": exited(0),
    "cp -r": exited(0),
    "tee": finish_input,
}


@pytest.mark.parametrize(
    ("seconds", "kinds"), [(20, SOME), pytest.param(60, ALL, marks=pytest.mark.soak)], ids=["exec", "all"]
)
def test_clients_that_were_told_to_wait_go_on_after_a_pause(
    machine: Machine, tmp_path: Path, seconds: int, kinds: dict[str, Start]
) -> None:
    with waiting(machine, tmp_path, kinds, patience=300) as clients:
        machine.pause()
        for client in clients.values():
            client.process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        machine.resume()
        machine.run("pkill -f '[s]leep 600'")
        wrong = {}
        for kind, client in clients.items():
            try:
                FINISH[kind](client)
            except AssertionError as error:
                wrong[kind] = str(error)
        assert not wrong
        if kinds is ALL:
            check_copies(machine, tmp_path, dict(zip(kinds, PORTS)))


def check_copies(machine: Machine, directory: Path, ports: dict[str, str]) -> None:
    """Check what clients have copied through a pause."""

    def there(path: str) -> str:
        return machine.run(f"sha256sum '{THERE}/{path}'").text.split()[0]

    def here(kind: str, path: str) -> str:
        return hashlib.sha256((directory / ports[kind] / path).read_bytes()).hexdigest()

    assert here("cp from the guest", "copy") == here("cp -r", "copied/big") == there("big")
    assert here("cp to the guest", "local") == there(f"{ports['cp to the guest']}/copy there")
    assert there(f"{ports['tee']}/new") == hashlib.sha256(b"something").hexdigest()
