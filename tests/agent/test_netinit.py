"""`phoenix-ga netinit`: the configurations of NoCloud, and what is made of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent import netinit
from phoenix_ga.agent.operations.network_files.cloud_config import parse_network_config
from phoenix_ga.agent.operations.network_files.settings import Settings
from tests.network import ip, ip_json, new_namespace

V2 = """\
version: 2
ethernets:
  primary:
    match: {macaddress: "02:00:00:00:00:07"}
    addresses: [192.0.2.10/24, "2001:db8::10/64"]
    gateway4: 192.0.2.1
    mtu: 1400
    routes:
      - {to: 203.0.113.0/24, via: 192.0.2.7, metric: 50}
      - to: default
        via: "fe80::1"
    nameservers: {addresses: [192.0.2.53], search: [example.org]}
  eth1:
    dhcp4: true
"""
V1 = """\
network:
  version: 1
  config:
  - type: physical
    name: eth7
    mac_address: '02:00:00:00:00:07'
    mtu: 1400
    subnets:
    - type: static
      address: 192.0.2.10
      netmask: 255.255.255.0
      gateway: 192.0.2.1
      routes:
      - {network: 203.0.113.0, netmask: 255.255.255.0, gateway: 192.0.2.7, metric: 50}
    - type: static6
      address: 2001:db8::10/64
      gateway: "fe80::1"
  - type: physical
    name: eth1
    subnets: [{type: dhcp}]
  - type: nameserver
    address: [192.0.2.53]
    search: example.org
"""


def described(settings: Settings) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(settings, name) for name in Settings.__slots__ if name != "name"}
    values["routes"] = sorted((route.destination, route.gateway, route.metric) for route in settings.routes)
    return values


@pytest.mark.parametrize("text", [V1, V2])
def test_both_versions_say_the_same(text: str) -> None:
    first, second = parse_network_config(text)
    assert described(first.settings) == {
        "hardware_address": "02:00:00:00:00:07",
        "dhcp4": False,
        "dhcp6": False,
        "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
        "routes": [("0.0.0.0/0", "192.0.2.1", 0), ("203.0.113.0/24", "192.0.2.7", 50), ("::/0", "fe80::1", 0)],
        "nameservers": ["192.0.2.53"],
        "search": ["example.org"],
        "mtu": 1400,
    }
    assert (second.name, second.settings.dhcp4) == ("eth1", True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version: 3", "the version is 1 or 2"),
        ("[]", "expected a mapping"),
        ("version: 2\nbonds: {}", "'bonds'.*use cloud-init"),
        ("version: 2\nvlans: {}", "use cloud-init"),
        ("version: 1\nconfig: [{type: bridge, name: br0}]", "'bridge'.*use cloud-init"),
        ("version: 2\nethernets: {a: {match: {name: 'en*'}}}", "patterns are left to cloud-init"),
        ("version: 2\nethernets: {a: {set-name: b}}", "set-name is left"),
        ("version: 2\nethernets: {a: {addresses: [nonsense]}}", "is no IPv4 or IPv6 address"),
        ("version: 2\nethernets: {a: {addresses: [192.0.2.1/33]}}", "is no prefix length"),
        ("version: 2\nethernets: {a: {adresses: []}}", "'adresses' is not understood"),
        ("version: 2\nethernets: {a: {mtu: many}}", "expected a number"),
        ("version: 2\nethernets: {a: {routes: [{to: default}]}}", "without a gateway"),
        ("version: 2\nethernets: {a: {routes: [{to: 192.0.2.1/24, via: 192.0.2.9}]}}", "host bits"),
        ("version: 2\nethernets: {a: {nameservers: {search: ['a;b']}}}", "is no domain"),
        (
            "version: 1\nconfig: [{type: physical, name: a, "
            "subnets: [{type: static, address: 192.0.2.1, netmask: 255.0.255.0}]}]",
            "is no mask",
        ),
    ],
)
def test_what_is_wrong_or_left_to_cloud_init_says_so(text: str, why: str) -> None:
    with pytest.raises(OSError, match=why):
        parse_network_config(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["192.0.2.1", "::1/64", "default", "a", "static"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "ethernets", "config", "type", "match", "routes", "to", "via", "subnets", "addresses"]
                ),
                inner,
                max_size=4,
            )
        ),
    ),
    st.sampled_from([1, 2]),
)
def test_any_configuration_is_understood_or_refused(value: object, version: int) -> None:
    import json

    for config in (value, {"version": version, "ethernets": {"a": value}, "config": [value]}):
        try:
            parse_network_config(json.dumps(config))
        except OSError:
            continue


def test_where_the_configuration_is_found(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no disk with the label cidata"):
        netinit.read_config("", str(tmp_path))
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "network-config").write_text("version: 2")
    assert netinit.read_config(str(seed)) == netinit.read_config(f"{seed}/network-config") == "version: 2"
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "product_serial").write_text("ds=nocloud;s=file:///seed/\n")
    assert netinit.read_config("", str(tmp_path)) == "version: 2"


@pytest.mark.root
class TestApply:
    @pytest.fixture(autouse=True)
    def network(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(netinit, "find_manager", lambda name, index: None)
        with new_namespace():
            ip("link", "add", "eth7", "address", "02:00:00:00:00:07", "type", "veth", "peer", "name", "eth1")
            for name in ("eth7", "eth1"):
                ip("link", "set", name, "addrgenmode", "none")
            yield

    def test_a_guest_without_a_manager(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "network-config"
        # A hoster's usual configuration: the gateway is in no network of the interface.
        path.write_text(
            "version: 2\nethernets:\n  eth7:\n    addresses: [192.0.2.10/32]\n    gateway4: 198.51.100.1\n"
            "    routes: [{to: 203.0.113.0/24, via: 198.51.100.1, metric: 50}]\n"
        )
        assert netinit.main(["--dry-run", str(path)]) == 0
        assert ip_json("route", "show") == []
        for _ in range(2):
            assert netinit.main([str(path)]) == 0
            routes = {(each["dst"], each.get("gateway"), each.get("metric")) for each in ip_json("route", "show")}
            assert routes == {
                ("198.51.100.1", None, None),
                ("default", "198.51.100.1", None),
                ("203.0.113.0/24", "198.51.100.1", 50),
            }
        assert "eth7: route 0.0.0.0/0 via 198.51.100.1\n" in capsys.readouterr().out

    def test_nothing_is_changed_if_an_interface_is_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "network-config"
        path.write_text("version: 2\nethernets: {eth7: {addresses: [192.0.2.1/24]}, eth9: {}}")
        with pytest.raises(OSError, match="there is no interface 'eth9'"):
            netinit.main([str(path)])
        assert ip_json("address", "show", "eth7")[0]["addr_info"] == []

    def test_dhcp_needs_a_manager(self, tmp_path: Path) -> None:
        path = tmp_path / "network-config"
        path.write_text("version: 2\nethernets: {eth7: {dhcp4: true}}")
        with pytest.raises(OSError, match="DHCP needs a network manager"):
            netinit.main([str(path)])


def test_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "phoenix_ga.agent", "netinit", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert run("--help").stdout.startswith("Usage: phoenix-ga netinit")
    assert run("--nonsense").returncode == 2
    missing = run(str(tmp_path / "missing"))
    assert (missing.returncode, missing.stderr) == (1, f"phoenix-ga: {tmp_path}/missing: No such file or directory\n")
    (tmp_path / "network-config").write_text("version: 2\nwifis: {}")
    assert "use cloud-init for it" in run(str(tmp_path)).stderr
