"""What commands of the QEMU Guest Agent do to a machine: its clocks, its processors, its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine
from tests.ends.client import LineClient
from tests.support import wait_for
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

PORT = "org.qemu.guest_agent.0"
OTHER_PORT = "org.guest-agent.0"
YEAR_2033 = 2_000_000_000


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(files=files, ports=[PORT, OTHER_PORT], peer=False) as machine:
        yield machine


@pytest.fixture
def client(machine: Machine) -> Iterator[LineClient]:
    with synced(machine) as client:
        yield client


def synced(machine: Machine) -> LineClient:
    """Return a client that is answered; it asks again, as real ones do of a guest that is just booting."""
    for _ in range(120):
        client = LineClient.connect(machine.socket(PORT))
        client.socket.settimeout(5)
        try:
            client.sync()
        except TimeoutError:
            client.close()
        else:
            return client
    raise AssertionError("the agent does not answer")


def ask(client: LineClient, execute: str, **arguments: Any) -> Any:
    message = {"execute": execute, "arguments": {name.replace("_", "-"): value for name, value in arguments.items()}}
    client.send(json.dumps(message).encode())
    answer = client.answer()
    assert "return" in answer, answer
    return answer["return"]


@pytest.mark.parametrize("leaving", [b"", b'{"execute": "guest-info"}' * 50], ids=["in order", "in a hurry"])
def test_clients_that_come_and_go_for_each_command_are_all_answered(machine: Machine, leaving: bytes) -> None:
    for number in range(200):
        if leaving:
            with LineClient.connect(machine.socket(PORT)) as client:
                client.send(leaving)
        with LineClient.connect(machine.socket(PORT)) as client:
            client.socket.settimeout(5)
            sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
            client.send(b"\xff" + json.dumps(sync).encode() + b'\n{"execute": "guest-get-osinfo"}\n')
            while client.line().rpartition(b"\xff")[1:] != (b"\xff", b'{"return": %d}\n' % number):
                pass
            assert "kernel-release" in client.answer()["return"]


def test_setting_the_time_reaches_the_clock_of_the_hardware(client: LineClient, machine: Machine) -> None:
    ask(client, "guest-set-time", time=YEAR_2033 * 10**9)
    assert 0 <= ask(client, "guest-get-time") / 10**9 - YEAR_2033 < 60
    assert 0 <= int(machine.run("cat /sys/class/rtc/rtc0/since_epoch").text) - YEAR_2033 < 60
    machine.run(f"date -s @{YEAR_2033 - 1_000_000}")
    ask(client, "guest-set-time")
    assert 0 <= int(machine.run("date +%s").text) - YEAR_2033 < 60
    ask(client, "guest-set-time", time=time.time_ns())


def test_a_processor_is_taken_out_and_put_in(client: LineClient, machine: Machine) -> None:
    assert len(ask(client, "guest-get-vcpus")) == 2
    for online in (False, True):
        assert ask(client, "guest-set-vcpus", vcpus=[{"logical-id": 1, "online": online}]) == 1
        assert {"logical-id": 1, "online": online, "can-offline": True} in ask(client, "guest-get-vcpus")
        assert machine.run("nproc").text == ("2" if online else "1")


def test_of_each_block_of_memory_it_tells_what_became_of_it(client: LineClient, machine: Machine) -> None:
    numbers = [block["phys-index"] for block in ask(client, "guest-get-memory-blocks")]
    assert len(numbers) == int(machine.run("ls -d /sys/devices/system/memory/memory[0-9]* | wc -l").text)
    size = ask(client, "guest-get-memory-block-info")["size"]
    assert size == int(machine.run("cat /sys/devices/system/memory/block_size_bytes").text, 16)
    for number in numbers:
        (told,) = ask(client, "guest-set-memory-blocks", mem_blks=[{"phys-index": number, "online": False}])
        state = machine.run(f"cat /sys/devices/system/memory/memory{number}/state").text
        # It is up to the kernel whether a block can be emptied.
        expected = {"offline": "success", "online": "operation-failed"}[state]
        assert (told["response"], "error-code" in told) == (expected, state == "online")
        assert ask(client, "guest-set-memory-blocks", mem_blks=[{"phys-index": number, "online": True}]) == [
            {"phys-index": number, "response": "success"}
        ]
        assert machine.run(f"cat /sys/devices/system/memory/memory{number}/state").text == "online"


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "Etc/UTC"])
def test_the_time_zone_is_what_it_is_now(zone: str, client: LineClient, machine: Machine) -> None:
    machine.run(f"ln -sf /usr/share/zoneinfo/{zone} /etc/localtime")
    name, offset = machine.run("date '+%Z %z'").text.split()
    seconds = int(f"{offset[0]}1") * (int(offset[1:3]) * 3600 + int(offset[3:]) * 60)
    assert ask(client, "guest-get-timezone") == {"zone": name, "offset": seconds}


def test_what_it_tells_is_what_the_system_says(client: LineClient, machine: Machine) -> None:
    assert ask(client, "guest-get-host-name") == {"host-name": machine.run("hostname").text}
    osinfo = ask(client, "guest-get-osinfo")
    assert osinfo["pretty-name"] == machine.run(". /etc/os-release && echo $PRETTY_NAME").text
    assert osinfo["kernel-release"] == machine.run("uname -r").text
    assert set(ask(client, "guest-get-load")) == {"load1m", "load5m", "load15m"}
    machine.run(
        "ip link add dummy0 type dummy && ip addr add 198.51.100.7/24 dev dummy0 && ip link set dummy0 up && "
        "ip route add 203.0.113.0/24 via 198.51.100.1 metric 7 && ip addr add 2001:db8::7/64 dev dummy0 nodad"
    )
    interfaces = {interface["name"]: interface for interface in ask(client, "guest-network-get-interfaces")}
    listed = json.loads(machine.run("ip -json addr show dev dummy0").text)[0]
    assert interfaces["dummy0"]["hardware-address"] == listed["address"]
    assert [each["ip-address"] for each in interfaces["dummy0"]["ip-addresses"]] == [
        each["local"] for each in listed["addr_info"]
    ]
    routes = ask(client, "guest-network-get-route")
    (route,) = (each for each in routes if each["destination"] == "203.0.113.0")
    expected = {"iface": "dummy0", "gateway": "198.51.100.1", "mask": "255.255.255.0", "metric": 7, "version": 4}
    assert expected.items() <= route.items()
    (route6,) = (each for each in routes if each["destination"] == "2001:db8::")
    assert (route6["version"], route6["desprefixlen"], route6["iface"]) == (6, "64", "dummy0")


def test_a_machine_that_cannot_sleep_says_so(client: LineClient) -> None:
    client.send(b'{"execute": "guest-suspend-hybrid"}')
    assert "not supported" in client.answer()["error"]["desc"]


def test_a_program_that_hangs_holds_nobody_else_up(client: LineClient, machine: Machine) -> None:
    hanging = "#!/bin/sh\n>/run/asked\nwhile [ ! -e /run/go ]; do sleep 0.1; done\nexit 1\n"
    machine.run(f"printf '{hanging}' > /usr/local/sbin/systemctl && chmod +x /usr/local/sbin/systemctl")
    client.send(b'{"execute": "guest-suspend-hybrid"}')
    wait_for(lambda: machine.run("test -e /run/asked", check=False).status == 0)
    with LineClient.connect(machine.socket(OTHER_PORT)) as other:
        other.sync()
        assert "load1m" in ask(other, "guest-get-load")
    assert machine.run("test -e /run/go", check=False).status != 0
    machine.run(">/run/go")
    assert "not supported" in client.answer()["error"]["desc"]
    machine.run("rm /usr/local/sbin/systemctl")


def test_a_machine_sleeps_until_it_is_woken_up(client: LineClient, machine: Machine) -> None:
    client.send(b'{"execute": "guest-suspend-ram"}')
    wait_for(lambda: machine.qmp("query-status")["status"] == "suspended")
    machine.qmp("system_wakeup")
    # The sleep itself has no answer: this is the first one.
    assert ask(client, "guest-get-host-name") == {"host-name": machine.run("hostname").text}


def test_a_halted_machine_stands_still(client: LineClient, machine: Machine) -> None:
    client.send(b'{"execute": "guest-shutdown", "arguments": {"mode": "halt"}}')
    wait_for(lambda: "reboot: System halted" in machine.console_log.read_text(errors="replace"))
    assert machine.qmp("query-status")["status"] == "running"
    machine.reset()


def test_reboot_and_power_down_are_not_answered_but_done(client: LineClient, machine: Machine) -> None:
    before = machine.run("cat /proc/sys/kernel/random/boot_id").text
    client.send(b'{"execute": "guest-shutdown", "arguments": {"mode": "reboot"}}')
    client.socket.settimeout(2)
    with pytest.raises((TimeoutError, EOFError, json.JSONDecodeError)):
        client.answer()
    client.close()
    machine.wait_ready()
    assert machine.run("cat /proc/sys/kernel/random/boot_id").text != before
    with synced(machine) as again:
        again.send(b'{"execute": "guest-shutdown"}')
        assert machine.wait_exit() == 0
