"""The agent installs itself in a guest, takes the place of qemu-ga, and gives it back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from lab.files import GuestFile
from lab.machine import Machine
from phoenix_ga.client import connect_sync
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.build_pyz import build
from tools.guest import AGENT_PORT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

QEMU_GA_PORT = "org.qemu.guest_agent.0"
ARCHIVE = "/root/phoenix-ga.pyz"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest where qemu-ga runs, and our archive is just a file."""
    archive = tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"
    build(archive)
    with Machine(files={ARCHIVE: GuestFile(archive.read_bytes())}, ports=[AGENT_PORT, QEMU_GA_PORT]) as machine:
        machine.run("systemctl start qemu-guest-agent")
        yield machine


def ask(machine: Machine, request: str) -> dict[str, Any]:
    """Ask on the port of the QEMU Guest Agent, as somebody who connects anew each time."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.socket(QEMU_GA_PORT)))
        with LineClient(connection) as client:
            client.send(
                b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 77}}' + request.encode() + b"\n"
            )
            while json.loads(client.line().lstrip(b"\xff") or b"{}") != {"return": 77}:
                pass
            return client.answer()


def version(machine: Machine) -> str:
    return str(ask(machine, '{"execute": "guest-info"}')["return"]["version"])


def test_it_takes_the_place_of_qemu_ga_and_gives_it_back(machine: Machine) -> None:
    theirs = version(machine)
    told = machine.run(f"python3 {ARCHIVE} --install").text
    assert f"and serves /dev/virtio-ports/{AGENT_PORT}" in told
    with connect_sync(f"unix:{machine.socket(AGENT_PORT)}") as guest:
        guest.ping()
    assert version(machine) == theirs
    machine.run("systemctl is-active qemu-guest-agent phoenix-ga")

    told = machine.run(f"python3 {ARCHIVE} --install --replace-qemu-ga").text
    assert f"/dev/virtio-ports/{QEMU_GA_PORT}" in told
    wait_for(lambda: version(machine) != theirs)
    assert machine.run("pidof qemu-ga", check=False).status != 0
    assert machine.run("systemctl show -P Id qemu-guest-agent").text == "phoenix-ga.service"
    machine.run("systemctl restart qemu-guest-agent && systemctl is-enabled phoenix-ga")
    assert version(machine) != theirs

    machine.run("/usr/sbin/phoenix-ga --uninstall")
    assert version(machine) == theirs
    assert machine.run("ls /usr/sbin/phoenix-ga /etc/systemd/system/*phoenix*", check=False).status != 0
    assert machine.run("systemctl show -P Id qemu-guest-agent").text == "qemu-guest-agent.service"


def test_a_qemu_ga_that_goes_on_is_no_success(machine: Machine) -> None:
    machine.run("systemctl stop qemu-guest-agent && qemu-ga --daemonize")
    refused = machine.run(f"python3 {ARCHIVE} --install --replace-qemu-ga", check=False)
    machine.run("pkill -x qemu-ga; /usr/sbin/phoenix-ga --uninstall")
    assert refused.status == 1
    assert f"cannot serve /dev/virtio-ports/{QEMU_GA_PORT}: qemu-ga --daemonize (process" in refused.text


def test_what_was_forbidden_does_not_become_allowed(machine: Machine) -> None:
    machine.run("mkdir -p /etc/qemu && printf '[general]\\nblock-rpcs=guest-exec\\n' > /etc/qemu/qemu-ga.conf")
    refused = machine.run(f"python3 {ARCHIVE} --install --replace-qemu-ga", check=False)
    assert refused.status == 1
    assert "/etc/qemu/qemu-ga.conf:2 forbids commands" in refused.text
    assert machine.run("ls /usr/sbin/phoenix-ga", check=False).status != 0
    machine.run("printf '[general]\\nblock=exec\\n' > /etc/phoenix-ga.conf")
    machine.run(f"python3 {ARCHIVE} --install --replace-qemu-ga")
    machine.run("phoenix-ga --uninstall && rm /etc/qemu/qemu-ga.conf /etc/phoenix-ga.conf")


def test_what_ran_around_a_freeze_is_not_forgotten(machine: Machine) -> None:
    path = "/etc/default/qemu-guest-agent"
    machine.run(f"touch {path}; cp {path} /run/kept; echo 'DAEMON_ARGS=\"-F/etc/qemu/hook\"' > {path}")
    refused = machine.run(f"python3 {ARCHIVE} --install --replace-qemu-ga", check=False)
    machine.run(f"mv /run/kept {path}")
    assert refused.status == 1
    assert f"{path}:1 names a program to run around a freeze" in refused.text
    assert "freeze-hook" in refused.text


def test_the_archive_serves_as_the_program_qemu_ga_itself(machine: Machine) -> None:
    theirs = version(machine)
    machine.run("systemctl stop qemu-guest-agent && mv /usr/sbin/qemu-ga /usr/sbin/qemu-ga.orig")
    machine.run(f"install -m 755 {ARCHIVE} /usr/sbin/qemu-ga && systemctl start qemu-guest-agent")
    wait_for(lambda: version(machine) != theirs)
    machine.run("systemctl stop qemu-guest-agent && mv /usr/sbin/qemu-ga.orig /usr/sbin/qemu-ga")
    machine.run("systemctl start qemu-guest-agent")
    assert version(machine) == theirs


def test_without_root_nothing_is_installed(machine: Machine) -> None:
    refused = machine.run(
        f"cp {ARCHIVE} /tmp/p && chmod 644 /tmp/p && setpriv --reuid 65534 python3 /tmp/p --install", check=False
    )
    assert refused.status == 1
    assert "only root can do that" in refused.text
