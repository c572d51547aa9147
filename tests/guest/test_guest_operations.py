"""What the agent does to a real guest, looked at from inside with programs that are not ours."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga import __version__
from tests.ends.client import LineClient, RefusedError
from tests.support import wait_for

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

PACKAGE = Path(__file__).parent.parent.parent / "src" / "phoenix_ga"


def test_a_file_goes_in_and_comes_out_unchanged(guest: Machine, client: LineClient) -> None:
    data = os.urandom(300_000)
    handle = client.call("file-open", path="/root/random", mode="w", perm=0o600)
    client.call("file-write", handle_id=handle, bufb64=base64.b64encode(data).decode(), eof=True)
    assert guest.run("md5sum < /root/random").text.split()[0] == client.call("get-file-md5sum", path="/root/random")
    assert guest.run("stat -c %a /root/random").text.strip() == "600"
    assert client.read_file("/root/random", count=65536) == data


def test_the_kernel_of_a_stock_guest_computes_the_digests(guest: Machine, client: LineClient) -> None:
    script = """
import sys
sys.path.insert(0, "/usr/sbin/phoenix-ga/source")
import zlib
from phoenix_ga.agent.linux.digest import KernelDigest
data = open("/bin/bash", "rb").read()
computed = {name: KernelDigest(name) for name in ("sha256", "crc32", "xxh64")}
for digest in computed.values():
    digest.update(data)
assert computed["crc32"].hexdigest() == f"{zlib.crc32(data):08x}"
empty = KernelDigest("xxh64")
# What xxhsum(1) prints for an empty file.
assert empty.hexdigest() == "ef46db3751d8e999"
print(computed["sha256"].hexdigest())
"""
    guest.copy_in(script.encode(), "/root/digest.py")
    expected = guest.run("sha256sum < /bin/bash").text.split()[0]
    assert guest.run("python3 -ISB /root/digest.py").text.strip() == expected
    assert client.call("get-file-sha256sum", path="/bin/bash") == expected


def test_the_network_is_changed_as_ip_shows_it(guest: Machine, client: LineClient) -> None:
    # QEMU's router would bring one more address, at any moment.
    guest.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=0")
    for address in ("198.51.100.7/24", "2001:db8::7/64"):
        client.call("ipaddr-add", ip=address, ifname="eth0")
    client.call("net-iface-up", ifname="eth0")
    client.call("route-add", ifname="eth0", dst="203.0.113.0/24", gateway="198.51.100.1")
    shown = json.loads(guest.run("ip -json address show dev eth0").text)[0]
    addresses = {f"{each['local']}/{each['prefixlen']}" for each in shown["addr_info"]}
    assert {"198.51.100.7/24", "2001:db8::7/64"} <= addresses
    assert "UP" in shown["flags"]
    ours = {interface["name"]: interface for interface in client.call("get-netifaces")}["eth0"]
    assert (set(ours["ips"]), ours["hwaddr"]) == (addresses, shown["address"])
    routes = json.loads(guest.run("ip -json route show").text)
    assert {"dst": "203.0.113.0/24", "gateway": "198.51.100.1", "dev": "eth0", "flags": ["linkdown"]} in [
        {**route, "flags": ["linkdown"]} for route in routes
    ]
    assert len(client.call("get-route-list", family=2)) == len(routes)
    client.call("route-del", ifname="eth0", dst="203.0.113.0/24", gateway="198.51.100.1")
    for address in ("198.51.100.7/24", "2001:db8::7/64"):
        client.call("linux-ipaddr-del", ip=address, ifname="eth0")
    client.call("net-iface-down", ifname="eth0")
    assert "203.0.113.0" not in guest.run("ip route show").text
    with pytest.raises(RefusedError) as caught:
        client.call("ipaddr-del", ip="198.51.100.7/24", ifname="eth0")
    assert caught.value.code == 99


def test_a_write_stops_while_frozen_and_goes_on_when_thawed(guest: Machine, client: LineClient) -> None:
    assert client.call("fs-freeze") is True
    assert client.call("get-freeze-status") is True
    guest.run("setsid --fork sh -c 'echo written > /root/late; sync /root/late' > /dev/null 2>&1 < /dev/null")
    time.sleep(1)
    assert client.call("ping") == __version__
    assert client.call("metrics")["frozen"] is True
    for command, arguments in (("sysinfo", {}), ("file-open", {"path": "/root/x"}), ("fs-freeze", {})):
        with pytest.raises(RefusedError, match="all filesystems are frozen; fs-unfreeze thaws them"):
            client.call(command, **arguments)
    with pytest.raises(RefusedError, match="there is no command"):
        client.call("no-such-command")
    client.send(b"malformed while frozen\n")
    assert "error" in client.answer()
    assert client.call("fs-unfreeze") is True
    assert client.call("get-freeze-status") is False
    wait_for(lambda: guest.run("cat /root/late", check=False).output == b"written\n")
    assert "fs-freeze" in guest.run("journalctl -u phoenix-ga").text


@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.soak)])
def test_a_client_that_dies_does_not_keep_the_next_from_thawing(guest: Machine, port: Path, rounds: int) -> None:
    # The news of who comes and goes is late here, and must not cost the next client its first request.
    for number in range(rounds):
        with LineClient.connect(port) as client:
            client.sync(number)
            client.call("fs-freeze")
            client.send(b'{"execute": "fs-')
        with LineClient.connect(port) as client:
            client.sync(number)
            assert client.call("get-freeze-status") is True
            assert client.call("fs-unfreeze") is True
    guest.run("touch /root/thawed && sync /root/thawed", timeout=60)


def test_an_agent_that_is_told_to_stop_thaws_first(guest: Machine, client: LineClient) -> None:
    client.call("fs-freeze")
    client.call("agent-shutdown")
    guest.run("touch /root/stopped && sync /root/stopped", timeout=60)
    assert "cannot thaw" not in guest.run("journalctl -u phoenix-ga -n 20").text


def test_an_agent_that_was_killed_while_frozen_thaws_when_it_is_back(guest: Machine, client: LineClient) -> None:
    client.call("fs-freeze")
    guest.run("kill -KILL $(systemctl show --property MainPID --value phoenix-ga)", timeout=60)
    guest.run("touch /root/killed && sync /root/killed", timeout=60)
    told = "an agent that died left filesystems frozen"
    wait_for(lambda: told in guest.run("journalctl -u phoenix-ga -n 30").text)


def test_every_kind_of_filesystem_freezes_once_and_in_order(guest: Machine) -> None:
    guest.copy_in(PACKAGE, "/root/package/phoenix_ga")
    guest.copy_in(Path(__file__).parent / "freeze_check.py", "/root/freeze_check.py")
    found = json.loads(guest.run("python3 -B /root/freeze_check.py /root/package", timeout=200).text.splitlines()[-1])
    assert found["ok"], found


def test_sysinfo_tells_what_the_guests_own_programs_tell(guest: Machine, client: LineClient) -> None:
    info = client.call("sysinfo")
    assert info["uname"]["nodename"] == guest.run("uname -n").text.strip()
    assert info["uname"]["release"] == guest.run("uname -r").text.strip()
    assert info["long_bit"] == int(guest.run("getconf LONG_BIT").text)
    assert abs(info["uptime"] - float(guest.run("cat /proc/uptime").text.split()[0])) < 5
    total = int(guest.run("awk '/MemTotal/ { print $2 }' /proc/meminfo").text)
    assert abs(info["ram"]["total"] - total) < 16
    root = next(disk for disk in info["disks"] if disk["mountpoint"] == "/")
    shown = guest.run("df --output=source,size / | tail -1").text.split()
    assert (root["name"], root["size_total"]) == (shown[0], int(shown[1]))


def test_nobody_in_the_guest_reaches_the_agent_over_vsock(guest: Machine, client: LineClient) -> None:
    guest.run("modprobe vsock_loopback")
    guest.run("printf '[general]\\nport = /dev/virtio-ports/org.guest-agent.0, vsock:8383\\n' > /etc/phoenix-ga.conf")
    guest.run("systemctl reload phoenix-ga")
    wait_for(lambda: "vsock:8383: listening" in guest.run("journalctl -u phoenix-ga -n 5").text)
    program = (
        "import socket; s = socket.socket(socket.AF_VSOCK); s.settimeout(5); s.connect((1, 8383)); "
        "print(s.recv(100) or 'closed')"
    )
    assert guest.run(f'python3 -c "{program}" 2>&1 | tail -1').text.split(":")[0] in (
        "closed",
        "ConnectionResetError",
    )
    assert "CID 1 may not talk to the agent" in guest.run("journalctl -u phoenix-ga -n 5").text
    guest.run("rm /etc/phoenix-ga.conf; systemctl reload phoenix-ga")
    wait_for(lambda: guest.run("journalctl -u phoenix-ga").text.count("the configuration was read again") == 2)
    assert client.call("ping") == __version__


def test_disks_show_what_is_mounted_from_them_through_partitions_lvm_and_luks(
    guest: Machine, client: LineClient
) -> None:
    guest.run(
        "set -e; mkdir -p /mnt/lvm /mnt/luks; echo type=83 | sfdisk -q /dev/vdb; udevadm settle; "
        "pvcreate -q /dev/vdb1; vgcreate -q group /dev/vdb1; lvcreate -q -y -l 100%FREE -n volume group; "
        "mkfs.ext4 -q /dev/group/volume; mount /dev/group/volume /mnt/lvm; "
        "cryptsetup -q luksFormat --key-file /etc/hostname --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vdc; "
        "cryptsetup open --key-file /etc/hostname /dev/vdc opened; "
        "mkfs.ext4 -q /dev/mapper/opened; mount /dev/mapper/opened /mnt/luks",
        timeout=120,
    )
    try:
        shown = {disk["name"]: disk for disk in client.call("sysinfo")["disks"]}
        for name in ("/dev/vdb", "/dev/mapper/group-volume"):
            assert shown[name]["mountpoint"] == "/mnt/lvm"
        for name in ("/dev/vdc", "/dev/mapper/opened"):
            assert shown[name]["mountpoint"] == "/mnt/luks"
        size = int(guest.run("df --output=size /mnt/luks | tail -1").text)
        assert shown["/dev/vdc"]["size_total"] == size
        assert client.call("fs-freeze") is True
        frozen = guest.run("cat /run/phoenix-ga/frozen").text
        assert client.call("fs-unfreeze") is True
        assert all(point in frozen for point in ("/mnt/lvm", "/mnt/luks"))
    finally:
        guest.run(
            "umount /mnt/lvm /mnt/luks; cryptsetup close opened; vgchange -q -an group; wipefs -qa /dev/vdb",
            check=False,
        )
