"""A parked agent in a real guest, from the Debian package: it takes nothing, misses nothing, and nobody notices."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

import pytest

from lab.files import GuestFile
from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga import __version__
from tests.debian_packages import PROGRAMS, built_packages
from tests.ends.client import LineClient
from tests.ends.proxmox import ask_as_proxmox
from tests.support import wait_for
from tools.build_pyz import build
from tools.guest import wait_for_agent

NATIVE, QEMU = DEFAULT_PORTS
UNIX = "/run/agent-test.sock"
CONFIG = f"""
[general]
port = /dev/virtio-ports/{NATIVE}, /dev/virtio-ports/{QEMU}, unix:{UNIX}, vsock:8383
park-after = 1
"""
# Talks to the Unix socket in the guest: so many requests, and then nothing more may come.
TALK = f"""
import json, socket, sys
number = int(sys.argv[1])
client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
client.connect("{UNIX}")
lines = client.makefile("rb")
for tag in range(number, number + 20):
    client.sendall(b'{{"execute": "ping", "tag": %d}}\\n' % tag)
tags = [json.loads(lines.readline())["tag"] for _ in range(20)]
client.settimeout(0.1)
try:
    print("one too many:", lines.readline())
except TimeoutError:
    print("once" if tags == [*range(number, number + 20)] else tags)
"""

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900), pytest.mark.programs(*PROGRAMS)]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest whose agent has ports of all kinds and parks after a second."""
    archive = tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"
    build(archive)
    files = {
        "/root/agent.deb": GuestFile(built_packages()["phoenix-guest-agent"].read_bytes()),
        "/root/phoenix-ga.pyz": GuestFile(archive.read_bytes()),
        "/root/phoenix-ga.conf": GuestFile(CONFIG.encode()),
        "/root/talk.py": GuestFile(TALK.encode()),
    }
    with Machine(files=files, peer=False) as machine:
        machine.run("dpkg --install /root/agent.deb", timeout=300)
        machine.run("cp /root/phoenix-ga.conf /etc && systemctl restart phoenix-ga")
        wait_for_agent(machine.socket(NATIVE))
        wait_for_agent(machine.socket(QEMU))
        yield machine


def process(guest: Machine) -> int:
    """Return the process ID of the service."""
    return int(guest.run("systemctl show --property MainPID --value phoenix-ga").text)


def is_parked(guest: Machine) -> bool:
    return "phoenix-wait" in guest.run(f"readlink /proc/{process(guest)}/exe").text


def wait_until_parked(guest: Machine) -> None:
    deadline = time.monotonic() + 60
    while not is_parked(guest):
        assert time.monotonic() < deadline, "the agent does not park"
        time.sleep(0.1)


def cost(guest: Machine) -> tuple[int, ...]:
    """Return the wake-ups, the context switches, and the nanoseconds of processor time of the agent so far."""
    path = f"/proc/{process(guest)}"
    words = guest.run(f"awk '/ctxt_switches/ {{ print $2 }}' {path}/status; cut -d' ' -f1 {path}/schedstat").text
    return tuple(map(int, words.split()))


@pytest.mark.parametrize("seconds", [5, pytest.param(1800, marks=[pytest.mark.soak, pytest.mark.timeout(5400)])])
def test_a_parked_agent_takes_nothing_with_the_host_end_closed_and_open(guest: Machine, seconds: int) -> None:
    wait_until_parked(guest)
    pid = process(guest)
    # It may not have gone to sleep yet.
    time.sleep(1)
    resident = int(guest.run(f"awk '/^Rss/ {{ print $2 }}' /proc/{pid}/smaps_rollup").text)
    assert resident < 100
    assert guest.run(f"cat /proc/{pid}/comm; ls /proc/{pid}/task").text.split() == ["phoenix-ga", str(pid)]
    assert guest.run(f"readlink /proc/{pid}/exe").text == "/usr/lib/phoenix-guest-agent/phoenix-wait"
    before = cost(guest)
    time.sleep(seconds)
    assert cost(guest) == before
    with LineClient.connect(guest.socket(NATIVE)) as native, LineClient.connect(guest.socket(QEMU)):
        assert native.call("ping") == __version__
        wait_until_parked(guest)
        time.sleep(1)
        before = cost(guest)
        time.sleep(seconds)
        assert cost(guest) == before
        assert native.call("ping") == __version__
    assert process(guest) == pid


def talk(guest: Machine, number: int, choose: random.Random) -> None:
    """Send requests in all forms, some in pieces, and see that each is answered once, in order."""
    expected = list(range(number, number + 20))
    with LineClient.connect(guest.socket(NATIVE)) as native, LineClient.connect(guest.socket(QEMU)) as qemu:
        native.socket.settimeout(60)
        qemu.socket.settimeout(60)
        if choose.random() < 0.5:
            # The connection is there before the first request.
            time.sleep(choose.uniform(0, 1.0))
        text = b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number
        text += b"".join(b'{"execute": "guest-ping", "id": %d}\n' % each for each in expected)
        for start in range(0, len(text), 700 if number % 2 else len(text)):
            qemu.send(text[start : start + 700] if number % 2 else text)
        native.sync(number)
        for tag in expected:
            native.ask("ping", tag)
            native.ask("ping")
        # Those with a tag may overtake the others.
        answers = [native.answer() for _ in range(2 * len(expected))]
        assert [each["tag"] for each in answers if "tag" in each] == expected
        assert [each for each in answers if "tag" not in each] == [{"return": __version__}] * len(expected)
        assert json.loads(qemu.line().rpartition(b"\xff")[2]) == {"return": number}
        assert [qemu.answer()["id"] for _ in expected] == expected
        for client in (native, qemu):
            client.socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.line()


@pytest.mark.parametrize("cycles", [30, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(5400)])])
def test_requests_at_random_moments_are_answered_once(guest: Machine, cycles: int) -> None:
    choose = random.Random(7)
    pid = process(guest)
    parked = 0
    for cycle in range(cycles):
        # It parks after one second.
        time.sleep(choose.uniform(0.6, 1.4))
        if cycle % 3 == 0:
            wait_until_parked(guest)
            parked += 1
        if cycle % 5 == 4:
            assert guest.run(f"python3 /root/talk.py {cycle * 1000}", timeout=120).text == "once"
        else:
            talk(guest, cycle * 1000, choose)
    assert parked >= cycles // 3
    assert process(guest) == pid
    assert guest.run("systemctl show -P NRestarts phoenix-ga").text == "0"


def test_proxmox_finds_an_agent_that_is_parked(guest: Machine) -> None:
    """It connects for each request, and asks for a ping before anything else."""
    port = guest.socket(QEMU)
    wait_until_parked(guest)
    assert ask_as_proxmox(port, "guest-ping") == {}
    assert ask_as_proxmox(port, "guest-fsfreeze-freeze") == 1
    assert ask_as_proxmox(port, "guest-fsfreeze-status") == "frozen"
    assert ask_as_proxmox(port, "guest-fsfreeze-thaw") == 1
    wait_until_parked(guest)
    assert "lo" in [each["name"] for each in ask_as_proxmox(port, "guest-network-get-interfaces")]


def test_the_self_test_says_that_all_is_well(guest: Machine) -> None:
    wait_until_parked(guest)
    result = guest.run("phoenix-ga --self-test --json")
    states = {each["name"]: (each["state"], each["text"]) for each in json.loads(result.text)}
    for name in (NATIVE, QEMU):
        assert states[f"port /dev/virtio-ports/{name}"] == ("ok", f"opened by phoenix-ga (process {process(guest)})")
    assert states["freeze /"] == ("ok", "ext4 can be frozen")
    assert states["parking"][0] == "ok"
    with LineClient.connect(guest.socket(NATIVE)) as client:
        client.sync()
        assert {each["name"] for each in client.call("self-test")} == states.keys()


def test_a_client_of_vsock_wakes_it(guest: Machine) -> None:
    wait_until_parked(guest)
    client = "import socket; s = socket.socket(socket.AF_VSOCK); s.connect((1, 8383)); print(s.recv(1))"
    # The agent takes the host only, and says so.
    assert guest.run(f'python3 -c "{client}"').text == "b''"
    assert "refused a client: CID 1" in guest.run("journalctl -u phoenix-ga").text


def test_signals_reach_a_parked_agent(guest: Machine) -> None:
    pid = process(guest)
    wait_until_parked(guest)
    guest.run("systemctl reload phoenix-ga")
    wait_for(lambda: "the configuration was read again" in guest.run("journalctl -u phoenix-ga").text)
    wait_until_parked(guest)
    assert process(guest) == pid
    assert "Active: active (running)" in guest.run("systemctl status phoenix-ga").text
    guest.run("systemctl stop phoenix-ga")
    assert guest.run("systemctl show -P Result -P ExecMainStatus phoenix-ga").text.split() == ["success", "0"]
    journal = guest.run("journalctl -u phoenix-ga -o cat").text
    assert "stopping" in journal
    assert "parking" not in journal
    guest.run("systemctl start phoenix-ga")
    wait_for_agent(guest.socket(NATIVE))


def test_a_port_that_is_unplugged_while_parked_is_found_again(guest: Machine) -> None:
    for _ in range(2):
        wait_until_parked(guest)
        guest.remove_port(NATIVE)
        wait_for(lambda: guest.run(f"test -e /dev/virtio-ports/{NATIVE}", check=False).status != 0)
        wait_until_parked(guest)
        with LineClient.connect(guest.add_port(NATIVE)) as client:
            client.sync()
            assert client.call("ping") == __version__


def test_a_request_that_comes_while_python_is_upgraded_is_answered_later(guest: Machine) -> None:
    wait_until_parked(guest)
    target = guest.run("readlink -f /usr/bin/python3").text
    guest.run(f"mv {target} {target}.old")
    with LineClient.connect(guest.socket(NATIVE)) as client:
        client.socket.settimeout(60)
        client.ask("ping", 1)
        time.sleep(2)
        assert is_parked(guest)
        guest.run(f"mv {target}.old {target}")
        assert client.answer() == {"return": __version__, "tag": 1}


def test_a_snapshot_of_a_parked_guest_is_loaded_later(guest: Machine) -> None:
    def job(command: str, **arguments: object) -> None:
        (root,) = (
            block["inserted"]["node-name"]
            for block in guest.qmp("query-block")
            if block.get("inserted", {}).get("file", "").endswith("root.qcow2")
        )
        guest.qmp(command, job_id=command, tag="parked", devices=[root], **arguments, vmstate=root)
        wait_for(lambda: guest.qmp("query-jobs")[0]["status"] == "concluded")
        (done,) = guest.qmp("query-jobs")
        guest.qmp("job-dismiss", id=command)
        assert "error" not in done, done

    wait_until_parked(guest)
    pid = process(guest)
    guest.pause()
    job("snapshot-save")
    guest.resume()
    with LineClient.connect(guest.socket(NATIVE)) as client:
        client.sync()
        assert client.call("ping") == __version__
    guest.pause()
    job("snapshot-load")
    guest.resume()
    assert is_parked(guest)
    for name in (NATIVE, QEMU):
        wait_for_agent(guest.socket(name))
    with LineClient.connect(guest.socket(NATIVE)) as client:
        client.sync()
        assert client.call("ping") == __version__
    assert process(guest) == pid


def test_the_package_is_purged_while_parked(guest: Machine) -> None:
    wait_until_parked(guest)
    guest.run("dpkg --purge phoenix-guest-agent", timeout=300)
    assert guest.run("pgrep phoenix", check=False).text == ""
    assert guest.run("find /etc /run /usr -name '*phoenix*'; systemctl list-units --all -q 'phoenix*'").text == ""


def test_the_archive_parks_without_the_package(guest: Machine) -> None:
    """The tests before this one leave no agent."""
    guest.run("cp /root/phoenix-ga.conf /etc && python3 -ISB /root/phoenix-ga.pyz --install")
    wait_for_agent(guest.socket(NATIVE))
    wait_until_parked(guest)
    assert guest.run(f"readlink /proc/{process(guest)}/exe").text == "/usr/lib/phoenix-guest-agent/phoenix-wait"
    # Where no program may be executed, the copy in memory is.
    guest.run("mount -t tmpfs -o noexec none /mnt && cp /usr/lib/phoenix-guest-agent/phoenix-wait /mnt")
    guest.run("mount --bind /mnt /usr/lib/phoenix-guest-agent")
    wait_for_agent(guest.socket(NATIVE))
    wait_until_parked(guest)
    assert "memfd" in guest.run(f"readlink /proc/{process(guest)}/exe").text
    guest.run("umount /usr/lib/phoenix-guest-agent /mnt")
