"""A real guest in which systemd runs the agent from the file and the unit that are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests.ends.client import LineClient
from tools.guest import AGENT_PORT, agent_files

# Of the first port with a name: behind the queues of the port without one, and those for control (virtio 1.2, 5.3.2).
_OUTPUT_QUEUE: Final = 5
_LOST_MAX: Final = 48


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with the agent on its port, a network card that is not configured, and two empty disks."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(network=True, files=files, disks=[DiskSpec(size="64M")] * 2) as machine:
        yield machine


@pytest.fixture
def port(guest: Machine) -> Path:
    """The host's end of the agent's port, which QEMU has not used up.

    With each client that leaves while data for it is stuck, QEMU takes one of the port's 128 buffers and never
    gives it back (virtio_serial_close in hw/char/virtio-serial-bus.c); after the last one nothing goes out any more
    until the machine is reset.
    """
    if lost_buffers(guest) > _LOST_MAX:
        guest.reset()
    return guest.socket(AGENT_PORT)


def lost_buffers(guest: Machine) -> int:
    """Return how many buffers of the agent's port QEMU has taken and not given back."""
    (path,) = (each["path"] for each in guest.qmp("x-query-virtio") if each["name"] == "virtio-serial")
    queue = guest.qmp("x-query-virtio-queue-status", path=path, queue=_OUTPUT_QUEUE)
    # Both count modulo 2**16.
    return int(queue["last-avail-idx"] - queue["used-idx"]) % (1 << 16)


@pytest.fixture
def client(port: Path) -> Iterator[LineClient]:
    """A client that has the port for itself and begins with `sync`."""
    with LineClient.connect(port) as connected:
        connected.sync()
        yield connected
