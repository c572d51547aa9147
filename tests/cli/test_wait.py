"""`phoenixctl wait`, and `ip --primary`: real agents, and guests that come, go and lie."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.operations.waiting.waiting import _KINDS
from phoenix_ga.cli.primary_address import primary_address
from phoenix_ga.client import NetworkInterface, Route
from phoenix_ga.wire.commands.waiting import CONDITIONS
from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent
from tests.network import ip, new_namespace
from tests.support import AgentProcess, wait_for


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as process:
        yield process


def begin(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line("wait", *map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_words_are_those_of_the_agent() -> None:
    assert set(CONDITIONS) == set(_KINDS)


def test_one_condition_prints_what_was_found_alone(run: Run, agent: AgentProcess, tmp_path: Path) -> None:
    endpoint = f"unix:{agent.socket_path}"
    (tmp_path / "file").touch()
    result = run("wait", endpoint, f"path={tmp_path}/file")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{tmp_path}/file\n", "")
    assert run("wait", endpoint, "exec=echo yes; echo no").stdout == "yes\n"
    result = run("--json", "wait", endpoint, "agent")
    assert json.loads(result.stdout)["condition"] == "agent"


def test_several_are_told_as_they_are_fulfilled(agent: AgentProcess, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    process = begin(f"unix:{agent.socket_path}", f"path={first}", f"path={second}", f"exec=test -e {second}")
    time.sleep(0.5)
    first.touch()
    assert process.stdout is not None
    assert process.stdout.readline() == f"path={first}: {first}\n"
    second.touch()
    status, out, err = end(process)
    assert (status, sorted(out.splitlines()), err) == (
        0,
        sorted([f"path={second}: {second}", f"exec=test -e {second}: "]),
        "",
    )


def test_any_ends_with_the_first(run: Run, agent: AgentProcess, tmp_path: Path) -> None:
    endpoint = f"unix:{agent.socket_path}"
    result = run("wait", "--any", endpoint, "load<0", f"path={tmp_path}", "exec=sleep 60")
    assert (result.returncode, result.stdout) == (0, f"path={tmp_path}: {tmp_path}\n")
    # The program ends with its client.
    wait_for(lambda: not agent.children())


def test_the_time_limit_names_what_is_missing(run: Run, agent: AgentProcess) -> None:
    result = run("wait", "--timeout", "1", f"unix:{agent.socket_path}", "agent", "load<0")
    assert (result.returncode, result.stdout.count("agent: ")) == (124, 1)
    assert "not fulfilled within 1 s: load<0" in result.stderr


@pytest.mark.parametrize(
    ("condition", "status", "why"),
    [
        ("addres", 2, "Unknown condition"),
        ("load=3", 2, "Unknown condition"),
        ("exec=", 2, "Unknown condition"),
        ("port=http", 1, "a number from 1 to 65535"),
    ],
)
def test_a_malformed_condition_is_refused(
    run: Run, agent: AgentProcess, condition: str, status: int, why: str
) -> None:
    result = run("wait", f"unix:{agent.socket_path}", condition)
    assert (result.returncode, result.stdout) == (status, "")
    assert why in result.stderr


def test_a_guest_that_does_not_run_yet_is_waited_for(tmp_path: Path) -> None:
    process = begin(f"unix:{tmp_path}/agent.sock", "agent")
    time.sleep(1.5)
    assert process.poll() is None
    with AgentProcess(tmp_path):
        assert end(process)[0] == 0


def test_a_wait_outlives_the_agent(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        process = begin(f"unix:{agent.socket_path}", f"path={tmp_path}/file")
        wait_for(lambda: bool(agent.open_files(Path("/proc"))))
        agent.stop()
        agent.restart()
        wait_for(lambda: bool(agent.open_files(Path("/proc"))))
        (tmp_path / "file").touch()
        assert end(process) == (0, f"{tmp_path}/file\n", "")


def test_the_end_of_the_guest(run: Run, tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        endpoint = f"unix:{agent.socket_path}"
        process = begin(endpoint, "shutdown")
        time.sleep(1)
        assert process.poll() is None
        agent.stop()
        assert end(process) == (0, "off\n", "")
    assert run("wait", endpoint, "shutdown").stdout == "off\n"


def test_several_guests(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with AgentProcess(tmp_path / "a") as one, AgentProcess(tmp_path / "b") as other:
        guests = f"unix:{one.socket_path},unix:{other.socket_path}"
        result = run("wait", "--timeout", "30", guests, f"path={tmp_path}/a/agent.log", "load<100000")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 4
    assert "2 of 2 done" in result.stderr


def test_ctrl_c_leaves_nothing_in_the_guest(agent: AgentProcess) -> None:
    process = begin(f"unix:{agent.socket_path}", "path=/never", "exec=sleep 60")
    wait_for(lambda: bool(agent.children()))
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130
    wait_for(lambda: not agent.children() and not agent.open_files(Path("/proc")))


def frame(stream: int, text: bytes, kind: int = 1) -> bytes:
    from tests.ends.client import encode_frame

    return encode_frame(kind, stream, text)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(7, b"x" * 70_000), "a line of more than 65536 bytes"),
        (frame(7, b'{"condition": 5, "found": "x"}\n'), "no such condition is waited for"),
        (frame(7, b'{"condition": 0, "found": 7}\n'), "not a string"),
        (frame(7, b"[]\n"), "not an object"),
        (frame(7, b'{"condition": 0, "found": "%s"}\n' % (b"x" * 20_000)), "too long"),
        (frame(7, b"{}", 3), "it ended too early"),
        (frame(7, b'{"condition": 0, "found": "x"}\n' * 2), ""),
    ],
)
def test_a_hostile_guest_is_not_believed(run: Run, scripted: ScriptedAgent, sent: bytes, why: str) -> None:
    answer = b'{"return": {"stream": 7}, "tag": %s}\n'
    scripted.answers["wait-for"] = lambda request: answer % json.dumps(request.tag).encode() + sent
    result = run("wait", scripted.endpoint, "address")
    assert why in result.stderr
    assert result.returncode == (125 if why else 0)


def test_what_a_guest_found_is_escaped(run: Run, scripted: ScriptedAgent) -> None:
    evil = json.dumps({"condition": 0, "found": "\x1b]0;owned\x07"}).encode() + b"\n"
    answer = b'{"return": {"stream": 7}, "tag": %s}\n'
    scripted.answers["wait-for"] = lambda request: answer % json.dumps(request.tag).encode() + frame(7, evil)
    assert run("wait", scripted.endpoint, "address").stdout == "\\x1b]0;owned\\x07\n"


# ip --primary


def interface(name: str, *addresses: str, flags: tuple[str, ...] = ("up",), container: bool = False) -> Any:
    return NetworkInterface(1, name, "", flags, addresses, "", container)


def route(name: str, gateway: str, destination: str = "", source: str = "") -> Route:
    return Route(name, 0, destination, "", source, gateway)


LO = interface("lo", "127.0.0.1/8", "::1/128", flags=("up", "loopback"))
DOCKER = interface("docker0", "172.17.0.1/16", container=True)
ETH0 = interface("eth0", "198.51.100.8/24", "2001:db8::8/64", "fe80::8/64")
ETH1 = interface("eth1", "192.0.2.10/24", "192.0.2.11/24")


@pytest.mark.parametrize(
    ("interfaces", "routes", "family", "expected"),
    [
        ((LO, DOCKER, ETH0, ETH1), (), 0, "198.51.100.8/24"),
        ((LO, DOCKER, ETH0, ETH1), (), 10, "2001:db8::8/64"),
        ((LO, DOCKER, ETH0, ETH1), (route("eth1", "192.0.2.1"),), 0, "192.0.2.10/24"),
        ((LO, DOCKER, ETH0, ETH1), (route("eth1", "192.0.2.1", source="192.0.2.11"),), 0, "192.0.2.11/24"),
        (
            (LO, DOCKER, ETH0, ETH1),
            (route("docker0", "", "172.17.0.0"), route("eth1", "192.0.2.1")),
            2,
            "192.0.2.10/24",
        ),
        ((LO, ETH0, ETH1), (route("eth0", "fe80::1"), route("eth1", "192.0.2.1")), 10, "2001:db8::8/64"),
        ((LO, DOCKER), (), 0, None),
        ((interface("eth0", "evil", "fe80::8/64"),), (), 0, None),
    ],
)
def test_the_primary_address(interfaces: Any, routes: Any, family: int, expected: str | None) -> None:
    found = primary_address(interfaces, routes, family)
    assert (found[1] if found else None) == expected


@pytest.mark.root
def test_ip_leaves_out_containers_and_finds_the_primary_address(run: Run, tmp_path: Path) -> None:
    with new_namespace():
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "far")
        ip("link", "add", "br-app", "type", "bridge")
        ip("link", "add", "link", "eth0", "name", "mac0", "type", "macvlan")
        for name in ("eth0", "far", "mac0", "br-app"):
            ip("link", "set", name, "addrgenmode", "none")
            ip("link", "set", name, "up")
        ip("address", "add", "172.17.0.1/16", "dev", "br-app")
        ip("address", "add", "192.0.2.10/24", "dev", "mac0")
        with AgentProcess(tmp_path) as agent:
            endpoint = f"unix:{agent.socket_path}"
            assert run("ip", endpoint, "addr", "--primary").stdout == "192.0.2.10\n"
            shown = run("ip", endpoint, "addr", "--no-containers").stdout
            assert [line.split(": ")[1] for line in shown.splitlines() if line[0] != " "] == ["lo", "mac0"]
            result = run("ip", "-6", endpoint, "addr", "--primary")
            assert (result.returncode, result.stdout) == (1, "")
            assert "phoenixctl wait GUEST address" in result.stderr
            for words in (("link", "--primary"), ("route", "--no-containers")):
                assert run("ip", endpoint, *words).returncode == 2
