"""Guests of other hosts: real sshd servers on this machine, each with its own guests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.client import ConnectionLostError, GuestTimeoutError, connect
from phoenix_ga.client.endpoints import is_pattern, parse_host
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.ssh import COMMAND_VARIABLE
from tests.hub.conftest import HubProcess
from tests.hub.hosts import OtherHost, phoenixctl, ssh_client, write_hosts
from tests.support import SOURCE, AgentProcess, wait_for

pytestmark = pytest.mark.programs("sshd", "ssh", "ssh-keygen")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, OtherHost]]:
    """Two hosts, each with a guest, and this user's configuration, which names them."""
    with ssh_client(tmp_path, monkeypatch), contextlib.ExitStack() as stack:
        found = {}
        for name in ("vh1", "vh2"):
            (tmp_path / f"{name}-agent").mkdir()
            agent = stack.enter_context(AgentProcess(tmp_path / f"{name}-agent"))
            host = OtherHost(tmp_path, name, {"web1": f"unix:{agent.socket_path}", "gone1": "unix:/nonexistent/x"})
            stack.callback(host.stop)
            host.wait_until_it_listens()
            found[name] = host
        write_hosts(tmp_path, {name: host.destination for name, host in found.items()})
        yield found


def test_a_guest_of_another_host_is_used_like_one_of_this(hosts: dict[str, OtherHost], tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "here").write_bytes(content)

    async def story() -> None:
        async with connect("vh1/web1") as guest:
            assert await guest.ping()
            assert (await guest.run(["cat"], input=content)).stdout == content
            await guest.put(tmp_path / "here", str(tmp_path / "there"))
        async with connect(f"ssh:{hosts['vh2'].destination}/web1") as guest:
            await guest.get(str(tmp_path / "there"), tmp_path / "back")

    asyncio.run(story())
    assert (tmp_path / "back").read_bytes() == content


def test_the_sockets_of_a_hub_are_forwarded(hosts: dict[str, OtherHost], tmp_path: Path) -> None:
    agent = tmp_path / "vh1-agent" / "agent.sock"
    with HubProcess(hosts["vh1"].directory, {f"web{number}": f"unix:{agent}" for number in range(30)}) as hub:
        done = phoenixctl("--timeout", "40", "exec", "vh1/web*", "--", "echo", "hello")
        assert len(done.stdout.splitlines()) == 1, "thirty names of one port are one guest"
        hub.write_guests({"web1": f"unix:{agent}", "gone1": "unix:/nonexistent"})
        wait_for(lambda: len(hub.ask("list")) == 2)
        assert phoenixctl("exec", "vh1/web1", "--", "echo", "hello").stdout == "hello\n"
        assert hub.audit()[-1]["program"] == "sshd"
        hub.stop()
    assert phoenixctl("exec", "vh1/web1", "--", "echo", "hello").stdout == "hello\n"


def test_patterns_go_over_hosts(hosts: dict[str, OtherHost]) -> None:
    done = phoenixctl("exec", "*/web*", "--", "echo", "hello")
    assert sorted(done.stdout.splitlines()) == ["vh1/web1: hello", "vh2/web1: hello"]
    assert done.returncode == 0
    listed = [json.loads(line) for line in phoenixctl("--json", "--timeout", "40", "guests").stdout.splitlines()]
    assert {guest["name"]: guest["state"] for guest in listed} == {
        "vh1/gone1": "not-an-agent",
        "vh1/web1": "answers",
        "vh2/gone1": "not-an-agent",
        "vh2/web1": "answers",
    }


def test_hosts_that_know_each_other_do_not_ask_each_other_for_ever(hosts: dict[str, OtherHost]) -> None:
    """All hosts may have the same configuration."""
    for host in hosts.values():
        with (host.directory / "xdg" / "phoenix" / "config.toml").open("a") as configuration:
            configuration.write('[hosts]\nvh3 = "127.0.0.1"\n')
        program = host.directory / "bin" / "ssh"
        program.write_text(f"#!/bin/sh\ntouch {host.directory}/asked\n")
        program.chmod(0o755)
    assert "vh1/web1" in phoenixctl("guests", "--quiet").stdout
    assert phoenixctl("ping", "*/web*").returncode == 0
    assert not any((host.directory / "asked").exists() for host in hosts.values())


def test_one_connection_serves_all_guests_of_a_host(hosts: dict[str, OtherHost]) -> None:
    for _ in range(3):
        assert phoenixctl("ping", "-c", "1", "vh1/web1").returncode == 0
    count = subprocess.run(
        ["pgrep", "-c", "-P", str(hosts["vh1"].process.pid)], capture_output=True, text=True, check=True
    ).stdout
    assert int(count) == 1


def test_a_host_that_is_down_is_named_and_the_others_go_on(hosts: dict[str, OtherHost], tmp_path: Path) -> None:
    write_hosts(tmp_path, {"vh1": hosts["vh1"].destination, "vh9": "127.0.0.1:1"})
    done = phoenixctl("exec", "*/web*", "--", "echo", "hello")
    assert "vh1/web1: hello" in done.stdout
    assert "vh9/*" in done.stderr
    assert "refused" in done.stderr
    assert done.returncode == 125


def test_a_host_whose_key_has_changed_is_refused(hosts: dict[str, OtherHost], tmp_path: Path) -> None:
    key = (hosts["vh2"].directory / "host_key.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{hosts['vh1'].port} {key[0]} {key[1]}\n")

    async def story() -> None:
        async with connect("vh1/web1"):
            pass

    with pytest.raises((ConnectError, ConnectionLostError), match="Host key verification failed"):
        asyncio.run(story())


def test_a_host_that_hangs_is_waited_for_no_longer_than_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(COMMAND_VARIABLE, f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600'")

    async def story() -> None:
        async with connect("ssh:vh1/web1", connect_timeout=0.5):
            pass

    with pytest.raises(GuestTimeoutError, match="ssh:vh1/web1: no connection within 0"):
        asyncio.run(story())
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_guest_that_the_host_does_not_have_is_named(hosts: dict[str, OtherHost]) -> None:
    done = phoenixctl("ping", "-c", "1", "vh1/web9")
    assert done.returncode == 125
    assert "no guest is named 'web9'" in done.stderr


def test_nothing_is_left_when_the_client_is_interrupted(hosts: dict[str, OtherHost]) -> None:
    phoenixctl("ping", "-c", "1", "vh1/web1")

    def sessions() -> int:
        found = subprocess.run(["pgrep", "-f", "phoenix_ga.cli stdio"], capture_output=True, text=True)
        return len(found.stdout.split())

    wait_for(lambda: sessions() == 0)


def test_a_program_is_a_port(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:

        async def story() -> None:
            async with connect(f"exec:socat - UNIX-CONNECT:{agent.socket_path}") as guest:
                assert await guest.ping()
            with pytest.raises(ConnectionLostError, match="status 3: sorry"):
                async with connect("exec:sh -c 'echo sorry >&2; exit 3'"):
                    pass
            with pytest.raises(ConnectError, match="no such program"):
                async with connect("exec:/nonexistent/program"):
                    pass

        asyncio.run(story())


def test_stdio_passes_bytes_on(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        done = subprocess.run(
            [sys.executable, "-m", "phoenix_ga.cli", "stdio", f"unix:{agent.socket_path}"],
            input=b'{"execute": "file-stat", "arguments": {"path": "/etc"}, "tag": 1}\n',
            stdout=subprocess.PIPE,
            timeout=55,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
    assert json.loads(done.stdout)["tag"] == 1
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("text", "destination", "port"),
    [
        ("vh1", "vh1", 0),
        ("root@vh1:2222", "root@vh1", 2222),
        ("root@[2001:db8::1]:22", "root@2001:db8::1", 22),
        ("2001:db8::1", "2001:db8::1", 0),
    ],
)
def test_hosts_are_parsed(text: str, destination: str, port: int) -> None:
    assert parse_host(text) == (destination, port)


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "vh1:x", "vh1:99999", "a\nb"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(EndpointError):
        parse_host(text)


def test_patterns_and_paths_are_told_apart() -> None:
    assert is_pattern("*/web*")
    assert is_pattern("vh1/*")
    assert not is_pattern("./*")
    assert not is_pattern("/run/*")
    assert not is_pattern("vh1/web1")
