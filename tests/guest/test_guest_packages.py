"""The Debian packages in real guests: installed, upgraded, downgraded, removed, and in place of qemu-ga."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from lab.files import GuestFile
from lab.image import ensure_image, is_built
from lab.machine import Machine
from lab.sources import archive_answers
from phoenix_ga.client import PhoenixError, connect_sync
from tests.ends.client import LineClient
from tests.support import wait_for
from tools import build_deb
from tools.guest import AGENT_PORT, wait_for_agent

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(2400),
    pytest.mark.programs("dpkg-buildpackage", "dh_python3", "lintian"),
]

QEMU_GA_PORT = "org.qemu.guest_agent.0"
# Package files in the guest.
AGENT, NEWER, REPLACEMENT, QEMU_GA = (
    "/root/agent.deb",
    "/root/newer.deb",
    "/root/replacement.deb",
    "/root/qemu-ga.deb",
)
# What a package manager, the journal and time leave behind.
PRUNED = ("/var/lib/dpkg", "/var/lib/apt", "/var/log", "/var/cache", "/root", "/tmp", "/var/tmp")
EVERYTHING = "find / -xdev " + "".join(f"-path {path} -prune -o " for path in PRUNED) + "-print | sort"
# A package made of an installed one.
REPACK = f"""
set -e
rm -rf /root/repacked && mkdir -p /root/repacked/DEBIAN
dpkg-query -s qemu-guest-agent | sed '/^Status:/d;/^Conffiles:/,/^ \\//d' > /root/repacked/DEBIAN/control
for kind in preinst postinst prerm postrm conffiles; do
    if [ -e /var/lib/dpkg/info/qemu-guest-agent.$kind ]; then
        cp /var/lib/dpkg/info/qemu-guest-agent.$kind /root/repacked/DEBIAN/$kind
    fi
done
dpkg -L qemu-guest-agent | while read -r path; do
    if [ -f "$path" ]; then mkdir -p "/root/repacked$(dirname "$path")"; cp -a "$path" "/root/repacked$path"; fi
done
dpkg-deb --build /root/repacked {QEMU_GA} >/dev/null
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GuestFile]:
    """The packages, and the agent's with a later version."""
    directory = tmp_path_factory.mktemp("deb")
    found = build_deb.build(directory / "build", "1.0.0-0upstream1")
    agent, replacement = (
        next(path for path in found if re.match(f"{name}_.*deb$", path.name))
        for name in ("phoenix-guest-agent", "phoenix-guest-agent-qemu-ga")
    )
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", agent, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("1.0.0-0upstream1", "1.0.1-0upstream1"))
    newer = directory / "newer.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, newer], check=True, capture_output=True)
    files = {AGENT: agent, NEWER: newer, REPLACEMENT: replacement}
    return {name: GuestFile(path.read_bytes()) for name, path in files.items()}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(packages: dict[str, GuestFile], request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A guest where qemu-ga runs, and the packages are just files."""
    release: str = request.param
    if not is_built(release) and not archive_answers(release):
        pytest.skip(f"no Debian archive of this host has {release}, or it cannot be reached")
    with Machine(files=packages, ports=[AGENT_PORT, QEMU_GA_PORT], image=ensure_image(release)) as machine:
        machine.run("systemctl start qemu-guest-agent")
        machine.run(REPACK)
        yield machine


def qga_version(machine: Machine) -> str:
    """Return the version that the agent on the port of qemu-ga reports."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.socket(QEMU_GA_PORT)))
        with LineClient(connection) as client:
            sync = b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 77}}'
            client.send(sync + b'{"execute": "guest-info"}\n')
            while json.loads(client.line().lstrip(b"\xff") or b"{}") != {"return": 77}:
                pass
            return str(client.answer()["return"]["version"])


def main_pid(machine: Machine) -> int:
    return int(machine.run("systemctl show -P MainPID phoenix-ga").text)


def install(machine: Machine, package: str) -> None:
    machine.run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {package}", timeout=300)


def test_the_agent_is_installed_used_upgraded_and_removed_without_a_trace(machine: Machine) -> None:
    before = machine.run(EVERYTHING).text
    theirs = qga_version(machine)
    install(machine, AGENT)
    wait_for_agent(machine.socket(AGENT_PORT))
    # Beside qemu-ga, which keeps its port over restarts of both.
    machine.run("systemctl restart phoenix-ga; systemctl restart qemu-guest-agent")
    wait_for(lambda: qga_version(machine) == theirs)
    compiled = machine.run("ls /usr/share/phoenix-guest-agent/phoenix_ga/__pycache__").text
    assert compiled.endswith("opt-2.pyc")

    # An upgrade, with a request in flight, an open stream and frozen filesystems, whose thaw dpkg waits for.
    first = main_pid(machine)
    with connect_sync(f"unix:{machine.socket(AGENT_PORT)}") as guest:
        sleeping = guest.exec(["sleep", "600"])
        guest.filesystems.freeze(10)
        machine.run(f"(dpkg -i {NEWER} > /run/upgrade 2>&1; echo $? > /run/upgraded) > /dev/null < /dev/null &")
        with pytest.raises(PhoenixError):
            sleeping.wait()
    machine.run("until test -e /run/upgraded; do sleep 0.2; done", timeout=300)
    assert machine.run("cat /run/upgraded; rm /run/upgraded").text == "0", machine.run("cat /run/upgrade").text
    machine.run("rm /run/upgrade")
    assert main_pid(machine) not in (0, first)
    wait_for_agent(machine.socket(AGENT_PORT))
    with connect_sync(f"unix:{machine.socket(AGENT_PORT)}") as guest:
        assert not guest.filesystems.status().frozen

    # A downgrade that the host orders, through the agent itself: it completes, and then the agent is the older one.
    second = main_pid(machine)
    with connect_sync(f"unix:{machine.socket(AGENT_PORT)}") as guest:
        done = guest.run(["dpkg", "-i", AGENT], timeout=300.0)
        assert done.returncode == 0, done.stderr
    wait_for(lambda: main_pid(machine) not in (0, second))
    wait_for_agent(machine.socket(AGENT_PORT))
    assert machine.run("dpkg-query -f '${db:Status-Status}' -W phoenix-guest-agent").text == "installed"

    machine.run("dpkg --remove phoenix-guest-agent && test -e /etc/phoenix-ga.conf", timeout=300)
    assert machine.run("pgrep phoenix-ga", check=False).status == 1
    machine.run("dpkg --purge phoenix-guest-agent", timeout=300)
    assert machine.run(EVERYTHING).text == before
    assert machine.run("systemctl list-units --all --plain --no-legend 'phoenix*'").text == ""


def test_it_takes_over_from_qemu_ga_and_gives_its_place_back(machine: Machine) -> None:
    theirs = qga_version(machine)
    install(machine, AGENT)
    apt = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-download"
    # Not if what qemu-ga refuses would become allowed.
    machine.run("mkdir -p /etc/qemu && printf '[general]\\nblock-rpcs=guest-exec\\n' > /etc/qemu/qemu-ga.conf")
    refused = machine.run(f"dpkg -i --auto-deconfigure {REPLACEMENT}", check=False, timeout=300)
    assert refused.status != 0
    assert "/etc/qemu/qemu-ga.conf:2 forbids commands" in refused.text
    wait_for(lambda: qga_version(machine) == theirs)
    machine.run("rm -r /etc/qemu")

    machine.run(f"{apt} {REPLACEMENT}", timeout=300)
    wait_for(lambda: qga_version(machine) != theirs)
    assert machine.run("pidof qemu-ga", check=False).status != 0
    assert machine.run("systemctl show -P Id qemu-guest-agent").text == "phoenix-ga.service"

    machine.run(f"{apt} {QEMU_GA}", timeout=300)
    wait_for(lambda: qga_version(machine) == theirs)
    assert machine.run("systemctl show -P Id qemu-guest-agent").text == "qemu-guest-agent.service"
    # After a boot, too.
    machine.reset()
    wait_for_agent(machine.socket(AGENT_PORT))
    wait_for(lambda: qga_version(machine) == theirs)
    machine.run("dpkg --purge phoenix-guest-agent phoenix-guest-agent-qemu-ga", timeout=300)
