"""`net-persist`: what is active in a network namespace, and the file for each manager, read by its own programs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.network_files import formats
from phoenix_ga.agent.operations.network_files.managers import find_manager, persist
from phoenix_ga.agent.operations.network_files.settings import Settings, StaticRoute, active_settings
from tests.network import ip, new_namespace


@pytest.fixture
def settings() -> Settings:
    made = Settings("eth0", "02:00:00:00:00:01")
    made.addresses = ["192.0.2.10/24", "198.51.100.7/32", "2001:db8::10/64"]
    made.routes = [
        StaticRoute("0.0.0.0/0", "192.0.2.1"),
        StaticRoute("203.0.113.0/24", "10.9.9.9", 50),
        StaticRoute("198.18.0.0/15"),
        StaticRoute("::/0", "fe80::1"),
    ]
    made.nameservers = ["192.0.2.53", "2001:db8::53"]
    made.search = ["example.org", "example.net"]
    made.mtu = 1400
    return made


@pytest.fixture
def dynamic() -> Settings:
    made = Settings("eth0")
    made.dhcp4 = made.dhcp6 = True
    made.routes = [StaticRoute("203.0.113.0/24", "192.0.2.7")]
    return made


@pytest.fixture(params=["systemd-networkd", "NetworkManager", "netplan", "ifupdown"])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A root directory in which one of the managers is about to configure interface 2."""
    files = {
        "systemd-networkd": {"run/systemd/netif/links/2": "ADMIN_STATE=configuring\n"},
        "NetworkManager": {"run/NetworkManager/devices/2": "[device]\nmanaged=true\n"},
        "netplan": {"usr/sbin/netplan": "", "etc/netplan/00-other.yaml": "network: {version: 2}\n"},
        "ifupdown": {
            "sbin/ifup": "",
            "etc/network/interfaces": "# The loopback\nauto lo\niface lo inet loopback\nsource interfaces.d/*\n",
        },
    }
    for path, content in files[request.param].items():
        write(tmp_path, path, content)
    return request.param, tmp_path


def write(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


@pytest.mark.root
class TestActive:
    @pytest.fixture(autouse=True)
    def network(self) -> Iterator[None]:
        with new_namespace():
            ip("link", "add", "eth7", "type", "veth", "peer", "name", "switch")
            for name in ("eth7", "switch"):
                ip("link", "set", name, "addrgenmode", "none")
                ip("link", "set", name, "up")
            yield

    def test_what_somebody_has_added(self, tmp_path: Path) -> None:
        ip("address", "add", "192.0.2.10/24", "dev", "eth7")
        ip("address", "add", "169.254.3.3/16", "dev", "eth7", "scope", "link")
        ip("address", "add", "2001:db8::10/64", "dev", "eth7", "nodad")
        ip("route", "add", "default", "via", "192.0.2.1")
        ip("route", "add", "198.51.100.0/24", "via", "192.0.2.2", "metric", "50", "proto", "static")
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2", "proto", "dhcp")
        ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "eth7")
        ip("-6", "route", "add", "2001:db8:1::/48", "via", "2001:db8::1", "dev", "eth7", "proto", "ra")
        write(tmp_path, "etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example.org\n")
        found = active_settings("eth7", str(tmp_path))
        assert (found.dhcp4, found.dhcp6) == (False, False)
        assert found.addresses == ["192.0.2.10/24", "2001:db8::10/64"]
        assert [(route.destination, route.gateway, route.metric) for route in found.routes] == [
            ("0.0.0.0/0", "192.0.2.1", 0),
            ("198.51.100.0/24", "192.0.2.2", 50),
            ("::/0", "2001:db8::1", 0),
        ]
        assert (found.nameservers, found.search) == (["192.0.2.53"], ["example.org"])

    def test_what_dhcp_has_given_is_asked_of_it_again(self, tmp_path: Path) -> None:
        ip("address", "add", "192.0.2.10/24", "dev", "eth7", "valid_lft", "1000", "preferred_lft", "500")
        ip("address", "add", "198.51.100.1/32", "dev", "eth7")
        ip("route", "add", "default", "via", "192.0.2.1")
        write(tmp_path, "etc/resolv.conf", "nameserver 192.0.2.53\n")
        found = active_settings("eth7", str(tmp_path))
        assert (found.dhcp4, found.dhcp6, found.addresses) == (True, False, ["198.51.100.1/32"])
        assert (found.routes, found.nameservers) == ([], [])

    def test_what_only_a_manager_can_make_is_refused(self) -> None:
        ip("link", "add", "br9", "type", "bridge")
        ip("link", "set", "switch", "master", "br9")
        for name, why in (("br9", "a bridge"), ("switch", "a port"), ("lo", "no Ethernet")):
            with pytest.raises(OSError, match=why) as caught:
                active_settings(name)
            assert caught.value.errno == errno.ENOTSUP
        ip("link", "set", "eth7", "down")
        with pytest.raises(OSError, match="it is down; set it up first"):
            active_settings("eth7")
        with pytest.raises(OSError, match="no such interface"):
            active_settings("missing")


class TestFiles:
    def test_a_file_replaces_ours_and_keeps_the_one_before(self, guest: tuple[str, Path], settings: Settings) -> None:
        manager, root = guest
        shown = persist(settings, 2, True, str(root))
        path = root / shown["path"][1:]
        assert (shown["manager"], shown["backup"]) == (manager, "")
        assert not path.exists()
        written = persist(settings, 2, root=str(root))
        assert written == shown
        assert path.read_text() == shown["content"]
        assert path.stat().st_mode & 0o777 == (0o600 if manager in ("NetworkManager", "netplan") else 0o644)
        settings.addresses = settings.addresses[:1]
        second = persist(settings, 2, root=str(root))
        assert path.read_text() == second["content"] != shown["content"]
        backup = root / second["backup"][1:]
        # No manager reads a hidden file.
        assert backup.read_text() == shown["content"]
        assert sorted(os.listdir(path.parent)) == sorted({*os.listdir(path.parent), path.name, backup.name})
        assert backup.name.startswith(".")

    def test_a_file_of_somebody_else_that_would_win(self, guest: tuple[str, Path], settings: Settings) -> None:
        manager, root = guest
        other = {
            "systemd-networkd": (
                "run/systemd/netif/links/2",
                "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/00-eth0.network\n",
            ),
            "NetworkManager": (
                "etc/NetworkManager/system-connections/office.nmconnection",
                "[connection]\ninterface-name=eth0\nautoconnect-priority=999\n",
            ),
            "netplan": ("etc/netplan/50-cloud-init.yaml", "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n"),
            "ifupdown": ("etc/network/interfaces.d/setup", "auto eth0\niface eth0 inet dhcp\n"),
        }
        write(root, *other[manager])
        for dry_run in (True, False):
            with pytest.raises(OSError, match="would not take effect") as caught:
                persist(settings, 2, dry_run, str(root))
            assert caught.value.errno == errno.EEXIST
        assert list(root.rglob("*phoenix-ga*")) == []

    def test_ifupdown_that_reads_no_other_files(self, tmp_path: Path, settings: Settings) -> None:
        write(tmp_path, "sbin/ifup", "")
        write(tmp_path, "etc/network/interfaces", "auto lo\niface lo inet loopback\n")
        with pytest.raises(OSError, match="no line `source"):
            persist(settings, 2, root=str(tmp_path))

    def test_no_manager(self, tmp_path: Path, settings: Settings) -> None:
        with pytest.raises(OSError, match="no network manager that is known") as caught:
            persist(settings, 2, root=str(tmp_path))
        assert caught.value.errno == errno.ENOTSUP

    def test_names_that_a_manager_could_take_for_something_else(self, guest: tuple[str, Path]) -> None:
        for name in ("", "eth0;reboot", "e\nth", "a b", "[x]", "a/b", "é"):
            with pytest.raises(OSError, match="misread"):
                persist(Settings(name), 2, root=str(guest[1]))

    def test_the_manager_of_each_interface(self, tmp_path: Path) -> None:
        def manager(index: int) -> str:
            found = find_manager(f"eth{index}", index, str(tmp_path))
            return found.name if found else ""

        assert manager(1) == ""
        write(tmp_path, "usr/sbin/ifup", "")
        write(tmp_path, "run/network/ifstate", "lo=lo\neth4=eth4\n")
        assert manager(1) == "ifupdown"
        write(tmp_path, "run/systemd/netif/links/1", "ADMIN_STATE=unmanaged\n")
        write(tmp_path, "run/systemd/netif/links/2", "ADMIN_STATE=configured\n")
        assert [manager(index) for index in (1, 2, 4)] == ["systemd-networkd", "systemd-networkd", "ifupdown"]
        write(tmp_path, "run/NetworkManager/devices/3", "[device]\nmanaged=true\n")
        write(tmp_path, "run/NetworkManager/devices/2", "[device]\nmanaged=false\n")
        assert [manager(index) for index in (2, 3, 4)] == ["systemd-networkd", "NetworkManager", "ifupdown"]


class TestFormats:
    def test_networkd(self, settings: Settings, dynamic: Settings) -> None:
        text = formats.networkd(settings)
        assert "[Match]\nName=eth0\n" in text
        assert "[Link]\nMTUBytes=1400\n" in text
        assert "DHCP=no\nAddress=192.0.2.10/24\nAddress=198.51.100.7/32\nAddress=2001:db8::10/64\n" in text
        assert "DNS=192.0.2.53\nDNS=2001:db8::53\nDomains=example.org example.net\n" in text
        assert "[Route]\nDestination=0.0.0.0/0\nGateway=192.0.2.1\n\n" in text
        assert "[Route]\nDestination=203.0.113.0/24\nGateway=10.9.9.9\nGatewayOnLink=yes\nMetric=50\n" in text
        assert "[Route]\nDestination=198.18.0.0/15\n" in text
        assert "DHCP=yes\n" in formats.networkd(dynamic)

    def test_network_manager(self, settings: Settings, dynamic: Settings) -> None:
        text = formats.network_manager(settings)
        assert "[ethernet]\nmtu=1400\n" in text
        assert "[ipv4]\nmethod=manual\naddress1=192.0.2.10/24\naddress2=198.51.100.7/32\n" in text
        assert "route1=0.0.0.0/0,192.0.2.1\nroute2=203.0.113.0/24,10.9.9.9,50\nroute3=198.18.0.0/15,0.0.0.0\n" in text
        assert "dns=192.0.2.53;\ndns-search=example.org;example.net;\n" in text
        assert "[ipv6]\nmethod=manual\naddress1=2001:db8::10/64\nroute1=::/0,fe80::1\ndns=2001:db8::53;\n" in text
        assert formats.network_manager(dynamic).count("method=auto") == 2
        assert "[ipv4]\nmethod=disabled\n" in formats.network_manager(Settings("eth0"))
        # The same profile keeps its identity.
        assert text.split("uuid=")[1][:36] == formats.network_manager(dynamic).split("uuid=")[1][:36]

    def test_ifupdown(self, settings: Settings, dynamic: Settings) -> None:
        text = formats.ifupdown(settings)
        assert text.startswith("# Written by phoenix-ga, which replaces this file.\nauto eth0\n")
        assert "iface eth0 inet static\n    address 192.0.2.10/24\n    pre-up ip link set dev eth0 mtu 1400\n" in text
        assert "    up ip route replace 0.0.0.0/0 via 192.0.2.1 dev eth0 onlink\n" in text
        assert "iface eth0 inet6 static\n    address 2001:db8::10/64\n    dns-nameservers 2001:db8::53\n" in text
        assert "inet dhcp\n    up ip route replace 203.0.113.0/24 via 192.0.2.7 dev eth0" in formats.ifupdown(dynamic)
        assert "iface eth0 inet6 dhcp\n" in formats.ifupdown(dynamic)
        assert "iface eth0 inet manual\n    up ip link set dev eth0 up\n" in formats.ifupdown(Settings("eth0"))

    def test_netplan(self, settings: Settings, dynamic: Settings) -> None:
        yaml = pytest.importorskip("yaml")
        assert yaml.safe_load(formats.netplan(settings)) == {
            "network": {
                "version": 2,
                "ethernets": {
                    "eth0": {
                        "dhcp4": False,
                        "dhcp6": False,
                        "mtu": 1400,
                        "addresses": settings.addresses,
                        "nameservers": {"addresses": settings.nameservers, "search": settings.search},
                        "routes": [
                            {"to": "0.0.0.0/0", "via": "192.0.2.1"},
                            {"to": "203.0.113.0/24", "via": "10.9.9.9", "on-link": True, "metric": 50},
                            {"to": "198.18.0.0/15", "scope": "link"},
                            {"to": "::/0", "via": "fe80::1"},
                        ],
                    }
                },
            }
        }
        assert yaml.safe_load(formats.netplan(dynamic))["network"]["ethernets"]["eth0"]["dhcp6"] is True


@pytest.mark.soak
class TestReaders:
    """What the managers' own programs make of the files, if this machine has them. Few have more than one."""

    def test_netplan(self, tmp_path: Path, settings: Settings, dynamic: Settings) -> None:
        if shutil.which("netplan") is None:
            pytest.skip("netplan is not installed")
        for each in (settings, dynamic):
            path = tmp_path / "etc/netplan/90-phoenix-ga-eth0.yaml"
            write(tmp_path, "etc/netplan/90-phoenix-ga-eth0.yaml", formats.netplan(each))
            path.chmod(0o600)
            subprocess.run(["netplan", "generate", "--root-dir", tmp_path], check=True)
            (made,) = (tmp_path / "run/systemd/network").glob("*eth0.network")
            text = made.read_text()
            assert all(f"Address={address}\n" in text for address in each.addresses)
            assert all(f"Gateway={route.gateway}\n" in text for route in each.routes if route.gateway)

    def test_ifupdown(self, tmp_path: Path, settings: Settings, dynamic: Settings) -> None:
        if shutil.which("ifquery") is None:
            pytest.skip("ifupdown is not installed")
        for each in (settings, dynamic, Settings("eth0")):
            write(tmp_path, "eth0", formats.ifupdown(each))
            shown = subprocess.run(
                ["ifquery", "-i", tmp_path / "eth0", "eth0"], check=True, capture_output=True, text=True
            ).stdout
            assert all(address.split("/")[0] in shown for address in each.addresses)

    def test_network_manager(self, settings: Settings, dynamic: Settings) -> None:
        if shutil.which("nmcli") is None:
            pytest.skip("NetworkManager is not installed")
        for each in (settings, dynamic, Settings("eth0")):
            shown = subprocess.run(
                ["nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"],
                input=formats.network_manager(each),
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert all(address.split("/")[0] in shown for address in each.addresses)
            assert "interface-name=eth0\n" in shown
