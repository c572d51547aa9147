"""Conversations over a real virtio-serial port, whose clients come, go, break off and do not read."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga import __version__
from phoenix_ga.wire.commands import BY_NAME, COMMANDS
from tests.ends.client import LineClient, RefusedError
from tests.examples import examples, run_example
from tests.malformed import CASES, MEMORY_MAX
from tests.support import wait_for
from tools.guest import AGENT_PORT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]


def agent_process(guest: Machine) -> int:
    return int(guest.run("systemctl show --property MainPID --value phoenix-ga").text)


def agent_status(guest: Machine, member: str) -> int:
    """Return a number out of /proc/PID/status of the agent; memory in KiB, wake-ups of all threads."""
    return sum(map(int, guest.run(f"sed -n 's/^{member}:[^0-9]*\\([0-9]*\\).*/\\1/p' {tasks(guest)}").text.split()))


def tasks(guest: Machine) -> str:
    return f"/proc/{agent_process(guest)}/task/*/status"


def memory(guest: Machine) -> int:
    """Return the agent's resident memory in bytes."""
    return int(guest.run(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{agent_process(guest)}/status").text) << 10


def processor_time(guest: Machine) -> float:
    """Return the seconds of processor time that the agent has used."""
    fields = guest.run(f"cat /proc/{agent_process(guest)}/stat").text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# Nothing else ends the wait for an answer that does not come.
@pytest.mark.timeout(120)
def test_the_dialogue_of_the_readme_typed_into_socat(guest: Machine, port: Path) -> None:
    socat = ["socat", "-", f"UNIX-CONNECT:{port}"]
    with subprocess.Popen(socat, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as typing:
        assert typing.stdin is not None
        assert typing.stdout is not None
        typing.stdin.write(b'{ "execute": "get-commands", "tag": "abc" }\r\n')
        typing.stdin.flush()
        assert json.loads(typing.stdout.readline()) == {"return": sorted(BY_NAME), "tag": "abc"}
        typing.stdin.write(b'{ "execute": "ping", "tag": "def" }\n')
        typing.stdin.flush()
        assert typing.stdout.readline() == b'{"return": "%s", "tag": "def"}\n' % __version__.encode()


def test_every_example_of_the_reference_gives_its_answer(guest: Machine, client: LineClient) -> None:
    # It takes two clients to attach to a program.
    without = {"exec-attach"}
    assert {command.name for command in COMMANDS} - without == {command.name for command, _ in examples()}
    handles: dict[int, int] = {}
    before = agent_process(guest)
    for command, example in examples():
        # This guest has no network manager; see test_guest_network.
        if command.name != "net-persist":
            run_example(client, command, example, handles)
    # The last of them ended the agent.
    wait_for(lambda: agent_process(guest) not in (0, before))
    client.sync()
    assert client.call("ping") == __version__


def test_malformed_requests_get_a_clear_error(guest: Machine, client: LineClient) -> None:
    for name, data, code, text in CASES:
        threading.Thread(target=client.send, args=(data + b'{"execute": "ping"}\n',)).start()
        error = RefusedError(client.answer())
        assert (error.code, text in error.text) == (code, True), (name, error)
        assert client.answer() == {"return": __version__}
    assert memory(guest) < MEMORY_MAX


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_clients_that_leave_at_random_moments_never_confuse_the_next(guest: Machine, port: Path, rounds: int) -> None:
    guest.run("head -c 1000000 /dev/urandom > /root/data")
    chance = random.Random(rounds)
    for _ in range(rounds):
        with LineClient.connect(port) as client:
            client.sync(chance.randrange(1 << 30))
            assert client.call("ping") == __version__
            handle = client.call("file-open", path="/root/data")
            for number in range(chance.randrange(10)):
                client.ask("file-read", number, handle_id=handle, count=chance.choice([100, 65536]))
            client.ask("file-close", "close", handle_id=handle)
            client.send(b'{"execute": "ping", "tag": 1}\n' * chance.randrange(20))
            client.send(b'{"execute": "ping"}'[: chance.randrange(20)])
            time.sleep(chance.choice([0, 0, 0.01]))


@pytest.mark.parametrize(("pings", "bursts"), [(2_000, 10), pytest.param(100_000, 100, marks=pytest.mark.soak)])
@pytest.mark.timeout(1200)
def test_every_request_has_one_answer(guest: Machine, client: LineClient, pings: int, bursts: int) -> None:
    guest.run("head -c 1000000 /dev/urandom > /root/data")
    client.call("file-stat", path="/")
    before = memory(guest)
    for _ in range(pings):
        client.call("ping")
    for number in range(bursts):
        client.burst(str(number), "/root/data")
    assert memory(guest) - before < 2 << 20


def test_ping_overtakes_a_digest_and_a_fifo(guest: Machine, client: LineClient) -> None:
    guest.run("truncate -s 1G /root/large; mkfifo /root/fifo")
    client.ask("get-file-md5sum", "slow", path="/root/large")
    handle = client.call("file-open", path="/root/fifo")
    # The digest takes many seconds. Its answer would fail a call that came after it.
    for _ in range(100):
        client.call("ping")
    client.call("file-close", handle_id=handle)
    # However busy the machine is: the tests that follow need the agent to themselves.
    client.socket.settimeout(300)
    assert client.answer()["tag"] == "slow"


def test_a_host_that_does_not_read_costs_nothing_and_its_bytes_reach_nobody_else(guest: Machine, port: Path) -> None:
    guest.run("head -c 4000000 /dev/urandom > /root/data")
    with LineClient.connect(port) as deaf:
        deaf.sync()
        handle = deaf.call("file-open", path="/root/data")
        for number in range(60):
            deaf.ask("file-read", f"deaf {number}", handle_id=handle, count=1 << 16)
        time.sleep(3)
        before = processor_time(guest)
        time.sleep(5)
        assert processor_time(guest) - before < 0.1
    with LineClient.connect(port) as client:
        client.sync()
        client.call("file-close", handle_id=handle)
        for _ in range(100):
            assert client.call("ping") == __version__


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_a_client_that_only_ever_asks_and_then_leaves_does_not_block_the_port(
    guest: Machine, port: Path, rounds: int
) -> None:
    for _ in range(rounds):
        with LineClient.connect(port) as deaf:
            deaf.sync()
            deaf.socket.settimeout(2)
            with contextlib.suppress(TimeoutError):
                deaf.send(b'{"execute": "get-commands", "tag": 1}\n' * 200_000)
        with LineClient.connect(port) as client:
            resync(client)
            assert client.call("ping") == __version__


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "disconnected"])
def test_an_idle_agent_never_wakes_up(guest: Machine, port: Path, seconds: int, connected: bool) -> None:
    with LineClient.connect(port) as client:
        client.sync()
        client.call("file-stat", path="/")
        if connected:
            time.sleep(1)
            before = agent_status(guest, "voluntary_ctxt_switches")
            time.sleep(seconds)
            assert agent_status(guest, "voluntary_ctxt_switches") == before
    if not connected:
        time.sleep(1)
        before = agent_status(guest, "voluntary_ctxt_switches")
        time.sleep(seconds)
        assert agent_status(guest, "voluntary_ctxt_switches") == before


def test_an_agent_that_is_awake_holds_at_most_10_5_megabytes(guest: Machine, port: Path) -> None:
    guest.run("systemctl restart phoenix-ga")
    with LineClient.connect(port) as client:
        client.sync()
        client.call("ping")
    assert memory(guest) <= 10_500_000


def test_a_port_that_is_unplugged_and_plugged_in_again_is_found(guest: Machine) -> None:
    for _ in range(3):
        guest.remove_port(AGENT_PORT)
        with LineClient.connect(guest.add_port(AGENT_PORT)) as client:
            client.sync()
            assert client.call("ping") == __version__


def test_a_port_that_another_program_holds_is_taken_when_it_lets_go(guest: Machine, port: Path) -> None:
    guest.run("systemctl stop phoenix-ga")
    guest.run("sleep 1000 < /dev/virtio-ports/org.guest-agent.0 > /dev/null 2>&1 & echo $! > /root/holder")
    guest.run("systemctl start phoenix-ga; sleep 2")
    assert "Device or resource busy" in guest.run("journalctl -u phoenix-ga -n 5").text
    before = agent_status(guest, "voluntary_ctxt_switches")
    time.sleep(2)
    assert agent_status(guest, "voluntary_ctxt_switches") == before
    guest.run("kill $(cat /root/holder)")
    wait_for(lambda: "open" in guest.run("journalctl -u phoenix-ga -n 1").text)
    with LineClient.connect(port) as client:
        client.sync()
        assert client.call("ping") == __version__


@pytest.mark.parametrize("rounds", [5, pytest.param(30, marks=pytest.mark.soak)])
def test_an_agent_killed_under_load_is_back_for_the_next_client(guest: Machine, port: Path, rounds: int) -> None:
    guest.run("head -c 4000000 /dev/urandom > /root/data")
    chance = random.Random(rounds)
    for _ in range(rounds):
        with LineClient.connect(port) as client:
            client.sync()
            handle = client.call("file-open", path="/root/data")
            for number in range(30):
                client.ask("file-read", number, handle_id=handle, count=50_000)
                client.ask("ping", f"ping {number}")
            time.sleep(chance.random() / 5)
            guest.run("systemctl kill --signal SIGKILL phoenix-ga")
        with LineClient.connect(port) as client:
            resync(client)
            assert client.call("ping") == __version__
    assert guest.run("systemctl is-active phoenix-ga").text.strip() == "active"


def resync(client: LineClient) -> None:
    """Say `sync` until somebody answers: what is sent while no agent runs is lost."""
    client.socket.settimeout(2)
    for _ in range(10):
        try:
            client.sync(int.from_bytes(os.urandom(4), "big"))
            break
        except TimeoutError:
            pass
    else:
        pytest.fail("the agent did not come back")
    client.socket.settimeout(20)
