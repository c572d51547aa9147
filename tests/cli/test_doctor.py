"""`phoenixctl doctor`: what it finds on this host, on the way to a guest, and in the guest."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.client import CommandError
from phoenix_ga.client.host_check import check_guest, check_host
from phoenix_ga.client.inventory import KnownGuest
from tests.cli.conftest import Run
from tests.ends.agent import ScriptedAgent
from tests.ends.client import LineClient
from tests.support import AgentProcess


def test_both_halves_are_told(run: Run, endpoint: str) -> None:
    result = run("doctor", endpoint)
    lines = result.stdout.splitlines()
    assert f"ok       guest: agent: phoenix-ga {__version__} answers" in lines
    assert "ok       host: client: no other client uses this port" in lines
    assert any(line.startswith("ok       guest: port unix:") for line in lines)
    assert result.returncode == any(line.startswith("failed") for line in lines)


def test_with_json_each_check_is_an_object(run: Run, endpoint: str) -> None:
    values = [json.loads(line) for line in run("--json", "doctor", endpoint).stdout.splitlines()]
    assert {value["side"] for value in values} == {"host", "guest"}
    assert all(value.keys() == {"side", "name", "state", "text"} for value in values)


def test_without_a_guest_the_host_is_checked(run: Run, tmp_path: Path) -> None:
    result = run("doctor", XDG_CONFIG_HOME=str(tmp_path))
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["qemu:", "kvm:", "vsock:", "guests:"]
    assert result.returncode == 0


def test_an_empty_host_has_warnings(tmp_path: Path) -> None:
    checks = {check.name: check for check in check_host(tmp_path)}
    assert {name: check.state for name, check in checks.items()} == dict.fromkeys(checks, "warning")


def test_a_socket_that_is_not_there_is_a_failure(run: Run, tmp_path: Path) -> None:
    result = run("doctor", f"unix:{tmp_path}/gone")
    assert result.returncode == 1
    assert (
        f"failed   host: socket: {tmp_path}/gone: No such file or directory; is the guest running?" in result.stdout
    )


def test_the_client_that_has_the_port_is_named(agent: AgentProcess) -> None:
    guest = KnownGuest("web1", f"unix:{agent.socket_path}", "configuration")
    with LineClient.connect(agent.socket_path) as client:
        client.call("ping")
        checks = {check.name: check for check in check_guest(guest)}
    assert checks["client"].state == "warning"
    assert f"(process {os.getpid()})" in checks["client"].text


@pytest.mark.parametrize(
    ("mode", "owners", "state"), [(0o600, (), "ok"), (0o666, (), "warning"), (0o600, (4711,), "failed")]
)
def test_the_owner_and_the_mode_of_a_socket_count(
    tmp_path: Path, mode: int, owners: tuple[int, ...], state: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(mode)
        guest = KnownGuest("web1", f"unix:{tmp_path}/socket", "qemu", owners=owners)
        assert {check.name: check.state for check in check_guest(guest)}["socket"] == state


def test_an_older_agent_is_told_as_such(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"ping": "0.9", "self-test": CommandError("there is no command 'self-test'", -1)}
    result = run("doctor", scripted.endpoint)
    assert result.returncode == 1
    assert "has no self-test" in result.stdout


def test_what_a_guest_says_cannot_reach_the_terminal(run: Run, scripted: ScriptedAgent) -> None:
    check = {"name": "a\x1b[2J", "state": "ok", "text": "b\nfailed c"}
    scripted.answers = {"ping": "1", "self-test": [check]}
    result = run("doctor", scripted.endpoint)
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 5
