"""The Debian packages in real guests, in place of qemu-ga and back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from lab.files import GuestFile
from lab.image import ensure_image, is_built
from lab.machine import Machine
from lab.sources import archive_answers
from phoenix_ga.client import connect_sync
from tests.debian_packages import PROGRAMS, built_packages
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.guest import AGENT_PORT, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.timeout(2400), pytest.mark.programs(*PROGRAMS)]

QEMU_GA_PORT = "org.qemu.guest_agent.0"
# Package files in the guest.
AGENT, REPLACEMENT = "/root/agent.deb", "/root/replacement.deb"
APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes"


@pytest.fixture(scope="module")
def packages() -> dict[str, GuestFile]:
    """The packages, by their path in the guest."""
    found = built_packages()
    files = {AGENT: found["phoenix-guest-agent"], REPLACEMENT: found["phoenix-guest-agent-qemu-ga"]}
    return {name: GuestFile(path.read_bytes()) for name, path in files.items()}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(packages: dict[str, GuestFile], request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A guest where qemu-ga runs, and the packages are just files."""
    release: str = request.param
    if not is_built(release) and not archive_answers(release):
        pytest.skip(f"no Debian archive of this host has {release}, or it cannot be reached")
    with Machine(files=packages, ports=[AGENT_PORT, QEMU_GA_PORT], image=ensure_image(release)) as machine:
        machine.run("systemctl start qemu-guest-agent")
        yield machine


def qga_version(machine: Machine) -> str:
    """Return the version that the agent on the port of qemu-ga reports."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.socket(QEMU_GA_PORT)))
        with LineClient(connection) as client:
            client.socket.settimeout(60)
            sync = b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 77}}'
            client.send(sync + b'{"execute": "guest-info"}\n')
            while json.loads(client.line().lstrip(b"\xff") or b"{}") != {"return": 77}:
                pass
            return str(client.answer()["return"]["version"])


def main_pid(machine: Machine) -> int:
    return int(machine.run("systemctl show -P MainPID phoenix-ga").text)


def is_installed(machine: Machine, package: str) -> bool:
    command = f"dpkg-query -f '${{db:Status-Status}}' -W {package}"
    return machine.run(command, check=False).text == "installed"


def test_it_takes_over_from_qemu_ga_and_gives_its_place_back(machine: Machine) -> None:
    theirs = qga_version(machine)
    # Not if what qemu-ga refuses would become allowed: nothing is removed then.
    machine.run("mkdir -p /etc/qemu && printf '[general]\\nblock-rpcs=guest-exec\\n' > /etc/qemu/qemu-ga.conf")
    refused = machine.run(f"{APT} install {AGENT} {REPLACEMENT}", check=False, timeout=300)
    assert refused.status != 0
    assert "/etc/qemu/qemu-ga.conf:2 forbids commands" in refused.text
    machine.run("rm /etc/qemu/qemu-ga.conf")
    wait_for_agent(machine.socket(AGENT_PORT))
    assert is_installed(machine, "qemu-guest-agent")
    assert qga_version(machine) == theirs

    machine.run(f"{APT} install {REPLACEMENT}", timeout=300)
    wait_for(lambda: qga_version(machine) != theirs)
    assert machine.run("pidof qemu-ga", check=False).status != 0
    machine.run("systemctl is-active qemu-guest-agent && systemctl restart qemu-guest-agent")
    assert qga_version(machine) != theirs
    # It is given back without a download.
    machine.run(f"{APT} remove phoenix-guest-agent-qemu-ga", timeout=300)
    wait_for(lambda: qga_version(machine) == theirs)
    machine.run("systemctl is-active phoenix-ga qemu-guest-agent")


def test_qemu_ga_can_be_removed_after_the_takeover_by_the_agent_itself(machine: Machine) -> None:
    theirs = qga_version(machine)
    machine.run(f"{APT} install {AGENT} {REPLACEMENT}", timeout=300)
    wait_for(lambda: qga_version(machine) != theirs)
    # At once: the installation is durable.
    machine.reset()
    wait_for_agent(machine.socket(AGENT_PORT))
    wait_for(lambda: qga_version(machine) != theirs)
    first = main_pid(machine)
    with connect_sync(f"unix:{machine.socket(AGENT_PORT)}") as guest:
        done = guest.run(["sh", "-c", f"{APT} purge qemu-guest-agent"], timeout=300.0)
        assert done.returncode == 0, done.stderr
    assert not is_installed(machine, "qemu-guest-agent")
    assert main_pid(machine) == first
    wait_for(lambda: qga_version(machine) != theirs)
    machine.run(f"{APT} purge phoenix-guest-agent phoenix-guest-agent-qemu-ga", timeout=300)
