"""A real guest in which systemd runs the agent from the file and the unit that are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.machine import Machine
from tests.support import LineClient
from tools.guest import AGENT_PORT, agent_files


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with the agent on its port, a network card that is not configured, and two empty disks."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(network=True, files=files, disks=[DiskSpec(size="64M")] * 2) as machine:
        yield machine


@pytest.fixture
def port(guest: Machine) -> Path:
    """The host's end of the agent's port."""
    return guest.socket(AGENT_PORT)


@pytest.fixture
def client(port: Path) -> Iterator[LineClient]:
    """A client that has the port for itself and begins with `sync`."""
    with LineClient.connect(port) as connected:
        connected.sync()
        yield connected
