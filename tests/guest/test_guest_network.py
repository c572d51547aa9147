"""Network configuration that stays, in a real guest that is reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.files import Source, Symlink
from lab.machine import Machine
from phoenix_ga.wire.commands import BY_NAME
from tests.ends.client import LineClient
from tests.ends.told import Wait
from tests.examples import run_example
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

NETWORKD = "systemd-networkd.service"


def test_what_was_persisted_is_there_after_a_reset(tmp_path: Path) -> None:
    files: dict[str, Source] = agent_files(tmp_path / "phoenix-ga.pyz")
    files[f"/etc/systemd/system/multi-user.target.wants/{NETWORKD}"] = Symlink(f"/lib/systemd/system/{NETWORKD}")
    with Machine(network=True, files=files, disks=[DiskSpec(size="64M", serial="seed")]) as guest:
        wait_for_agent(guest.socket(AGENT_PORT))
        with LineClient.connect(guest.socket(AGENT_PORT)) as client:
            client.sync()
            # udev may load the driver later than systemd starts the agent.
            wait = Wait(client, "path=/sys/class/net/eth0")
            assert (wait.next(), wait.next()) == ((0, "/sys/class/net/eth0"), None)
            client.call("net-iface-up", ifname="eth0")
            client.call("ipaddr-add", ip="192.0.2.10/24", ifname="eth0")
            client.call("ipaddr-add", ip="2001:db8::10/64", ifname="eth0")
            client.call("route-add", ifname="eth0", dst="default", gateway="192.0.2.1")
            client.call("route-add", ifname="eth0", dst="203.0.113.0/24", gateway="192.0.2.7")
            persist = BY_NAME["net-persist"]
            run_example(client, persist, persist.examples[0], {})
            written = client.call("net-persist", ifname="eth0")
            assert (written["manager"], written["backup"]) == ("systemd-networkd", "")
            assert guest.run(f"cat {written['path']}").text.strip() == written["content"].strip()
            client.call("ipaddr-del", ip="2001:db8::10/64", ifname="eth0")
            written = client.call("net-persist", ifname="eth0")
            assert "2001:db8::10" in guest.run(f"cat {written['backup']}").text
        # The power is cut: what was answered is on the disk.
        guest.reset()
        wait_for_agent(guest.socket(AGENT_PORT))
        with LineClient.connect(guest.socket(AGENT_PORT)) as client:
            client.sync()
            wait = Wait(client, "address=4,dev=eth0", "route=4")
            found = (wait.next(), wait.next(), wait.next())
            assert sorted(found[:2], key=str) == [(0, "192.0.2.10"), (1, "default via 192.0.2.1 dev eth0")]
            routes = client.call("get-route-list", family=2)
            assert [each["gateway"] for each in routes if each["dst"]["ip"] == "203.0.113.0"] == ["192.0.2.7"]
            assert "2001:db8::10" not in guest.run("ip -6 address show dev eth0").text
            # networkd's own words: it uses our file, and nothing is lost by writing it again.
            assert written["path"] in guest.run("networkctl status eth0").text
            assert client.call("net-persist", ifname="eth0", dry_run=True)["content"] == written["content"]

            # The host describes another network, on a disk.
            hardware_address = guest.run("cat /sys/class/net/eth0/address").text.strip()
            config = (
                "network:\n  version: 2\n  ethernets:\n    first:\n"
                f"      match: {{macaddress: '{hardware_address}'}}\n"
                "      addresses: [198.51.100.10/24]\n      gateway4: 198.51.100.1\n"
            )
            guest.copy_in(config.encode(), "/root/network-config")
            guest.run("mkfs.ext4 -q -L cidata /dev/disk/by-id/virtio-seed && mkdir /run/seed")
            guest.run("mount /dev/disk/by-id/virtio-seed /run/seed && cp /root/network-config /run/seed/")
            guest.run("umount /run/seed && udevadm trigger -w /dev/disk/by-id/virtio-seed")
            shown = guest.run("phoenix-ga netinit --dry-run").text
            assert "Address=198.51.100.10/24" in shown
            assert guest.run("phoenix-ga netinit").text.strip() == f"eth0: {written['path']} (systemd-networkd)"
            guest.run("networkctl reload")
            wait = Wait(client, "address,cidr=198.51.100.10/32")
            assert (wait.next(), wait.next()) == ((0, "198.51.100.10"), None)
            assert client.call("get-route-list", family=2)[0]["gateway"] == "198.51.100.1"
            assert "phoenix-netinit" not in guest.run("ls /run; cat /proc/mounts").text
