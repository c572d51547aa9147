"""A guest in which systemd runs the agent, from the file and the unit that are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests.ends.client import LineClient
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

# The queue of the first named port follows those of the unnamed port and the control port (virtio 1.2, 5.3.2).
_OUTPUT_QUEUE: Final = 5
_LOST_MAX: Final = 48


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with the agent on its port, a network card that is not configured, and two empty disks."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(network=True, files=files, disks=[DiskSpec(size="64M")] * 2) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        yield machine


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A QMP socket. The lab has the other one, and a monitor has one client."""
    return tmp_path_factory.mktemp("qmp") / "qmp"


@pytest.fixture
def port(guest: Machine) -> Path:
    """The host's end of the agent's port, with buffers left in QEMU.

    Each client that leaves while data for it is queued costs one of the port's 128 buffers, which QEMU never returns
    (virtio_serial_close in hw/char/virtio-serial-bus.c). Without buffers the port sends nothing until a reset.
    """
    if lost_buffers(guest) > _LOST_MAX:
        guest.reset()
        wait_for_agent(guest.socket(AGENT_PORT))
    return guest.socket(AGENT_PORT)


def lost_buffers(guest: Machine) -> int:
    """Return how many buffers of the agent's port QEMU has taken and not returned."""
    (path,) = (each["path"] for each in guest.qmp("x-query-virtio") if each["name"] == "virtio-serial")
    queue = guest.qmp("x-query-virtio-queue-status", path=path, queue=_OUTPUT_QUEUE)
    # Both count modulo 2**16.
    return int(queue["last-avail-idx"] - queue["used-idx"]) % (1 << 16)


@pytest.fixture
def client(port: Path) -> Iterator[LineClient]:
    """A client that has the port to itself and begins with `sync`."""
    with LineClient.connect(port) as connected:
        connected.sync()
        yield connected
