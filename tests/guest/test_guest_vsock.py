"""The client over real vsock sockets, which a guest has with itself as well.

The agent takes the host and nobody else: between it and the client, which is in the guest too, a relay stands for
the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import phoenix_ga
from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga import __version__
from tools.guest import agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

SOURCE = Path(phoenix_ga.__file__).parent
RELAY = """
import socket, threading

def carry(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 8383))
listener.listen()
while True:
    client, _ = listener.accept()
    agent = socket.socket(socket.AF_UNIX)
    agent.connect("/run/second.sock")
    for pair in ((client, agent), (agent, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""
CLIENT = """
import filecmp, sys
from phoenix_ga.client import ConnectError, connect_sync

for endpoint in ("vsock:1", "vsock:1:8383"):
    with connect_sync(endpoint) as guest:
        print(guest.ping(), guest.run(["echo", "hello"]).stdout.decode().strip())
        guest.get("/usr/bin/python3", "/tmp/copy")
        print(filecmp.cmp("/usr/bin/python3", "/tmp/copy", shallow=False))
try:
    with connect_sync("vsock:1:8384"):
        pass
except ConnectError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(files=agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")) as running:
        wait_for_agent(running.socket(DEFAULT_PORTS[0]))
        yield running


def test_an_agent_behind_a_vsock_port_is_talked_to(machine: Machine) -> None:
    sources = {f"/root/phoenix_ga/{path.relative_to(SOURCE)}": path.read_bytes() for path in SOURCE.rglob("*.py")}
    machine.copy_files({**sources, "/root/relay.py": RELAY.encode(), "/root/client.py": CLIENT.encode()})
    machine.run("modprobe vsock_loopback")
    machine.run("systemd-run --quiet --unit second phoenix-ga -p unix:/run/second.sock --run-directory /run/second")
    machine.run("systemd-run --quiet --unit relay python3 /root/relay.py; sleep 2")
    lines = machine.run("cd /root && PYTHONPATH=/root python3 client.py 2>&1").text.splitlines()
    assert lines[:4] == [f"{__version__} hello", "True"] * 2, lines
    assert lines[4].startswith("vsock:1:8384: the agent does not listen on this port")
