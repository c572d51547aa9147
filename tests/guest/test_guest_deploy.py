"""phoenixctl installs the agent in a guest with nothing but a stock qemu-ga, by the commands of that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.client import connect_sync
from tests.support import SOURCE, wait_for
from tools.build_pyz import build

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

PORT = "org.qemu.guest_agent.0"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"
    build(path)
    return path


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(ports=[PORT]) as machine:
        machine.run("systemctl start qemu-guest-agent")
        yield machine


def phoenixctl(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phoenix_ga.cli", *words]
    return subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_a_deployment_that_fails_leaves_the_guest_as_it_was(machine: Machine, archive: Path, tmp_path: Path) -> None:
    endpoint = f"unix:{machine.socket(PORT)}"
    # qemu-ga is restricted: the new agent would allow more.
    machine.run("mkdir -p /etc/qemu && printf '[general]\\nblock-rpcs=guest-suspend-ram\\n' > /etc/qemu/qemu-ga.conf")
    refused = phoenixctl("deploy", "--agent", str(archive), endpoint)
    assert (refused.returncode, "forbids commands of qemu-ga" in refused.stderr) == (1, True), refused
    machine.run("rm -r /etc/qemu; systemctl is-active qemu-guest-agent")
    # A program that is no agent: what it leaves is removed.
    broken = tmp_path / "broken.pyz"
    broken.write_bytes(b"#!/usr/bin/python3\nsys.exit(3)\n")
    assert phoenixctl("deploy", "--agent", str(broken), endpoint).returncode == 1
    machine.run(
        "systemctl is-active qemu-guest-agent && ! ls /usr/sbin/phoenix-ga /etc/systemd/system/phoenix-ga.service"
    )
    wait_for(lambda: machine.run("test -e /run/phoenix-deploy", check=False).status != 0)


def test_one_command_replaces_a_stock_qemu_ga(machine: Machine, archive: Path) -> None:
    endpoint = f"unix:{machine.socket(PORT)}"
    done = phoenixctl("deploy", "--agent", str(archive), endpoint)
    assert done.returncode == 0, done.stderr
    assert "is installed, and answers" in done.stdout
    with connect_sync(endpoint) as guest:
        assert guest.run(["hostname"]).stdout == b"phoenix-guest\n"
    assert machine.run("systemctl show -P Id qemu-guest-agent").text == "phoenix-ga.service"
    wait_for(lambda: machine.run("test -e /run/phoenix-deploy", check=False).status != 0)
    machine.run("systemctl is-active phoenix-ga && phoenix-ga --uninstall && systemctl is-active qemu-guest-agent")


def test_with_a_profile_the_host_can_do_no_more(machine: Machine, archive: Path, tmp_path: Path) -> None:
    endpoint = f"unix:{machine.socket(PORT)}"
    done = phoenixctl("deploy", "--profile", "read-only", "--agent", str(archive), endpoint)
    assert done.returncode == 0, done.stderr
    with connect_sync(endpoint) as guest:
        guest.ping()
        assert guest.sysinfo().kernel.release
        with pytest.raises(PermissionError):
            guest.run(["true"])
        guest.get("/etc/hostname", tmp_path / "name")
        assert (tmp_path / "name").read_text() == "phoenix-guest\n"
    machine.run("phoenix-ga --install --profile backup")
    with connect_sync(endpoint) as guest:
        guest.filesystems.freeze(20)
        guest.filesystems.thaw()
    # It takes away what only unpackaged installations have.
    machine.run("phoenix-ga --uninstall && ! ls -d /etc/systemd/system/phoenix-ga.service.d")
