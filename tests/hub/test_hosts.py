"""Many guests on several hosts: each in a network namespace, with a real sshd, a hub, a real agent and a crowd."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.conftest import HubProcess, crowd
from tests.hub.hosts import Network, finish, make_key, phoenixctl, ssh_client, start_phoenixctl, write_hosts
from tests.support import AgentProcess

pytestmark = [pytest.mark.programs("ip", "sshd", "ssh", "ssh-keygen"), pytest.mark.root]

NAMES = ("vh1", "vh2", "vh3")
# As long as ssh waits for a host, and what is done besides.
HANGS = "ForceCommand kill -STOP $PPID"


@contextlib.contextmanager
def network_of_hosts(directory: Path, monkeypatch: pytest.MonkeyPatch, mocks: int) -> Iterator[Network]:
    """Three hosts, each with a hub, a real agent `web1`, and so many others."""
    with ssh_client(directory, monkeypatch), contextlib.ExitStack() as stack:
        network = Network(directory)
        stack.callback(network.stop)
        for name in NAMES:
            place = directory / f"{name}-guests"
            place.mkdir()
            agent = stack.enter_context(AgentProcess(place))
            guests = {f"mock{number}": where for number, where in enumerate(stack.enter_context(crowd(place, mocks)))}
            guests["web1"] = f"unix:{agent.socket_path}"
            host = network.add(name, {})
            stack.enter_context(HubProcess(host.directory, guests))
        write_hosts(directory, {name: host.destination for name, host in network.hosts.items()})
        yield network


@pytest.fixture
def network(namespace: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with network_of_hosts(tmp_path, monkeypatch, 3) as network:
        yield network


def test_one_command_reaches_the_guests_of_all_hosts(network: Network, tmp_path: Path) -> None:
    listed = [json.loads(line) for line in phoenixctl("--json", "guests").stdout.splitlines()]
    states = {guest["name"]: guest["state"] for guest in listed}
    assert states == {f"{host}/{guest}": "answers" for host in NAMES for guest in ("mock0", "mock1", "mock2", "web1")}

    done = phoenixctl("exec", "*/web*", "--", "echo", "hello")
    assert sorted(done.stdout.splitlines()) == [f"{host}/web1: hello" for host in NAMES]
    assert done.returncode == 0

    content = os.urandom(3_000_000)
    (tmp_path / "one").write_bytes(content)
    copied = phoenixctl("cp", f"vh1/web1:{tmp_path}/one", f"vh2/web1:{tmp_path}/two")
    assert (copied.returncode, copied.stderr) == (0, "")
    assert (tmp_path / "two").read_bytes() == content

    pinged = phoenixctl("ping", "*/*")
    assert "12 sent, 12 answered" in pinged.stdout
    assert pinged.returncode == 0


def test_a_host_in_trouble_is_named_and_holds_up_nobody(network: Network, tmp_path: Path) -> None:
    """One that is dead, one that hangs once it has let the client in, and one with another key."""
    for name, settings in (("dead", ""), ("hung", HANGS), ("other", "")):
        network.add(name, {"web1": "unix:/nonexistent"}, settings)
    network.silence("dead")
    make_key(tmp_path / "another")
    kind, key, *_ = (tmp_path / "another.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"{network.hosts['other'].address} {kind} {key}\n")
    write_hosts(tmp_path, {name: host.destination for name, host in network.hosts.items()})

    one = [start_phoenixctl("--timeout", "3", "exec", f"{name}/web1", "--", "true") for name in ("dead", "hung")]
    several = [start_phoenixctl("exec", "*/web*", "--", "echo", "hello"), start_phoenixctl("--json", "guests")]
    for process in one:
        done = finish(process)
        assert done.returncode == 124, done.stderr
    done, listed = map(finish, several)
    assert sorted(done.stdout.splitlines()) == [f"{host}/web1: hello" for host in NAMES]
    assert done.returncode == 125
    named = {line.split(": ")[1]: line for line in done.stderr.splitlines() if "/*: " in line}
    assert sorted(named) == ["dead/*", "hung/*", "other/*"], done.stderr
    assert "no answer within 10 s" in named["hung/*"]
    assert "Host key verification failed" in named["other/*"]
    troubles = [json.loads(line) for line in listed.stdout.splitlines()]
    # Those of a host are shown as it answers, and not once all have.
    assert troubles[-1]["name"] in ("dead/*", "hung/*")
    assert {guest["name"] for guest in troubles if guest["state"] == "gone"} == {"dead/*", "hung/*", "other/*"}
    assert sum(guest["state"] == "answers" for guest in troubles) == 12


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_three_hundred_guests_are_reached_over_ssh(
    namespace: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with network_of_hosts(tmp_path, monkeypatch, 100):
        for what in ("cold", "again"):
            began = time.monotonic()
            done = phoenixctl("ping", "*/*", timeout=60)
            elapsed = time.monotonic() - began
            assert "303 sent, 303 answered" in done.stdout, done.stderr
            with capsys.disabled():
                print(f"\n303 guests of three hosts pinged over ssh, {what}: {elapsed:.1f} s", end="")
        listed = phoenixctl("--json", "guests", timeout=60).stdout.splitlines()
        assert sum(json.loads(line)["state"] == "answers" for line in listed) == 303
