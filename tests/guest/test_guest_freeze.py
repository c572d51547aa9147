"""A frozen guest whose agent is killed, stopped or forgotten: it thaws, and its hooks are run, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.files import GuestFile
from lab.machine import Machine
from tests.ends.client import LineClient, RefusedError
from tests.support import wait_for
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

THEIRS = "org.qemu.guest_agent.0"
OURS = "org.phoenix.compare.0"
HOOK = """#!/bin/sh
echo "$1" >> /run/hooks
echo "it is $1"
test ! -e /run/fail-$1 || exit 5
"""
LOG = "/var/log/phoenix.log"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files["/usr/sbin/phoenix-qemu-ga"] = files["/usr/sbin/phoenix-ga"]
    hook = GuestFile(HOOK.encode(), mode=0o755)
    files["/etc/phoenix-ga/fsfreeze-hook.d/hook"] = hook
    files["/etc/qemu/fsfreeze-hook"] = hook
    # On the disk that is going to be frozen.
    files["/etc/phoenix-ga.conf"] = GuestFile(
        f"[general]\nport=/dev/virtio-ports/{AGENT_PORT}\nlog-file={LOG}\n".encode()
    )
    with Machine(files=files, ports=[AGENT_PORT, THEIRS, OURS], memory="384M") as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        yield machine


@pytest.fixture
def client(machine: Machine) -> Iterator[LineClient]:
    machine.run("rm -f /run/hooks /run/fail-*")
    with LineClient.connect(machine.socket(AGENT_PORT)) as client:
        client.sync()
        yield client


def hooks(machine: Machine) -> list[str]:
    return machine.run("cat /run/hooks", check=False).text.split()


def details(client: LineClient) -> dict[str, Any]:
    """Ask the agent, which may have been started again meanwhile."""
    client.sync()
    found: dict[str, Any] = client.call("get-freeze-status", details=True)
    return found


def can_be_written(machine: Machine) -> None:
    machine.run("touch /root/written && sync /root/written", timeout=30)


def start_writer(machine: Machine) -> None:
    script = "rm -f /run/written; echo x > /root/by-writer; touch /run/written"
    machine.run(f"setsid --fork sh -c '{script}' > /dev/null 2>&1 < /dev/null; sleep 0.3; test ! -e /run/written")


def test_a_killed_agent_is_followed_by_a_thaw_and_one_thaw_hook(machine: Machine, client: LineClient) -> None:
    generation = client.call("fs-freeze", timeout=0, details=True)["generation"]
    status = client.call("get-freeze-status", details=True)
    assert (status["frozen"], status["remaining"], status["ended"]) == (True, -1, "")
    start_writer(machine)
    assert machine.run("pgrep -c phoenix-guard").text == "1"
    machine.run("kill -KILL $(systemctl show --property MainPID --value phoenix-ga)")
    wait_for(lambda: machine.run("test -e /run/written", check=False).status == 0)
    wait_for(lambda: hooks(machine) == ["freeze", "thaw"])
    status = details(client)
    assert (status["frozen"], status["ended"], status["generation"]) == (False, "died", generation)
    assert 0 < status["since"] <= status["until"]
    with pytest.raises(RefusedError, match="the freeze did not hold: the agent was killed"):
        client.call("fs-unfreeze", generation=generation)
    assert hooks(machine) == ["freeze", "thaw"]
    assert "its watchdog thawed them" in machine.run(f"cat {LOG}").text
    assert machine.run("ls /run/phoenix-ga").text == ""


def test_the_next_agent_thaws_where_all_of_the_service_was_killed(machine: Machine, client: LineClient) -> None:
    generation = client.call("fs-freeze", details=True)["generation"]
    start_writer(machine)
    machine.run("systemctl kill --signal KILL phoenix-ga")
    wait_for(lambda: machine.run("test -e /run/written", check=False).status == 0)
    status = details(client)
    assert (status["ended"], status["generation"]) == ("died", generation)
    wait_for(lambda: hooks(machine) == ["freeze", "thaw"])
    assert "an agent that died left filesystems frozen: thawed" in machine.run(f"cat {LOG}").text
    wait_for(lambda: machine.run("ls /run/phoenix-ga").text == "")


def test_an_agent_that_is_stopped_thaws_and_runs_the_hook(machine: Machine, client: LineClient) -> None:
    client.call("fs-freeze")
    machine.run("systemctl stop phoenix-ga", timeout=30)
    assert hooks(machine) == ["freeze", "thaw"]
    can_be_written(machine)
    machine.run("systemctl start phoenix-ga")


def test_a_freeze_that_is_forgotten_ends_by_its_deadline(machine: Machine, client: LineClient) -> None:
    client.call("fs-freeze", timeout=3)
    status = client.call("get-freeze-status", details=True)
    assert status["frozen"] is True
    assert 0 <= status["remaining"] <= 3
    can_be_written(machine)
    wait_for(lambda: client.call("get-freeze-status", details=True)["ended"] == "deadline")
    assert client.call("get-freeze-status") is False
    wait_for(lambda: hooks(machine) == ["freeze", "thaw"])
    assert client.call("fs-unfreeze") is True
    assert hooks(machine) == ["freeze", "thaw"]
    assert "nobody thawed for 3 seconds: the deadline thawed 1 filesystems" in machine.run(f"cat {LOG}").text
    # The next one is a freeze like any other.
    client.call("fs-freeze")
    assert client.call("get-freeze-status", details=True)["ended"] == ""
    assert client.call("fs-unfreeze") is True
    assert hooks(machine) == ["freeze", "thaw"] * 2


def test_a_hook_that_fails_keeps_the_guest_from_being_frozen(machine: Machine, client: LineClient) -> None:
    machine.run("touch /run/fail-freeze")
    with pytest.raises(RefusedError) as caught:
        client.call("fs-freeze")
    assert caught.value.text == "/etc/phoenix-ga/fsfreeze-hook.d/hook: fsfreeze hook has failed with status 5"
    assert hooks(machine) == ["freeze", "thaw"]
    can_be_written(machine)
    assert "/etc/phoenix-ga/fsfreeze-hook.d/hook: it is freeze" in machine.run(f"cat {LOG}").text


def say(client: LineClient, execute: str) -> dict[str, object]:
    client.send(json.dumps({"execute": execute}).encode() + b"\n")
    return client.answer()


def test_in_the_place_of_qemu_ga_hook_and_state_are_as_its_own(machine: Machine, client: LineClient) -> None:
    """The same is done with both agents: the answers are the same, and the mark is there at the same times."""
    machine.run("rm -rf /etc/phoenix-ga/fsfreeze-hook.d; systemctl start qemu-guest-agent")
    machine.run("mkdir -p /run/theirs /run/ours")
    machine.run("systemctl stop qemu-guest-agent")
    seen = []
    for program, port, place in (("qemu-ga", THEIRS, "theirs"), ("phoenix-qemu-ga", OURS, "ours")):
        start = f"systemd-run -q -u {place} {program} -F -t /run/{place} -p /dev/virtio-ports/{port}"
        found: list[object] = []
        machine.run(start)
        with LineClient.connect(machine.socket(port)) as agent:
            for command in ("guest-fsfreeze-freeze", "guest-fsfreeze-status", "guest-fsfreeze-thaw"):
                found.append(say(agent, command))
                found.append(machine.run(f"stat -c '%a %s' /run/{place}/qga.state.isfrozen", check=False).text[:5])
            machine.run("touch /run/fail-freeze")
            found += [say(agent, "guest-fsfreeze-freeze"), say(agent, "guest-fsfreeze-status")]
            machine.run("mv /run/fail-freeze /run/fail-thaw")
            found += [say(agent, f"guest-fsfreeze-{what}") for what in ("freeze", "thaw", "status")]
            machine.run("rm /run/fail-thaw; chmod -x /etc/qemu/fsfreeze-hook")
            found += [say(agent, f"guest-fsfreeze-{what}") for what in ("freeze", "status")]
            machine.run("chmod +x /etc/qemu/fsfreeze-hook")
        machine.run(f"systemctl stop {place}")
        seen.append(found)
    assert seen[0] == seen[1]
    assert {"error": {"class": "GenericError", "desc": "fsfreeze hook has failed with status 5"}} in seen[0]


def test_what_a_killed_qemu_ga_left_frozen_is_thawed_by_a_thaw(machine: Machine, client: LineClient) -> None:
    machine.run(f"systemd-run -q -u theirs qemu-ga -t /run/theirs -p /dev/virtio-ports/{THEIRS}")
    with LineClient.connect(machine.socket(THEIRS)) as agent:
        assert say(agent, "guest-fsfreeze-freeze") == {"return": 1}
    start_writer(machine)
    machine.run("kill -KILL $(pidof qemu-ga)")
    machine.run(
        f"systemd-run -q -u ours phoenix-qemu-ga -t /run/theirs -p /dev/virtio-ports/{OURS} -l /var/log/ours.log"
    )
    with LineClient.connect(machine.socket(OURS)) as agent:
        assert say(agent, "guest-fsfreeze-status") == {"return": "frozen"}
        error = say(agent, "guest-get-fsinfo")["error"]
        assert isinstance(error, dict)
        assert error["class"] == "CommandNotFound"
        assert machine.run("test -e /run/written", check=False).status == 1
        assert say(agent, "guest-fsfreeze-thaw") == {"return": 1}
        wait_for(lambda: machine.run("test -e /run/written", check=False).status == 0)
        assert say(agent, "guest-fsfreeze-status") == {"return": "thawed"}
    assert machine.run("test -e /run/theirs/qga.state.isfrozen", check=False).status == 1
    assert "qga.state.isfrozen says that filesystems were left frozen" in machine.run("cat /var/log/ours.log").text
    machine.run("systemctl stop ours")
