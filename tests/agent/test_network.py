"""The network operations against the kernel, with iproute2 and pyroute2 for a second opinion.

Every test has a network namespace of its own, so nothing of this machine's network is touched.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import IPRoute, NetlinkError  # type: ignore[import-untyped]

from phoenix_ga.agent.context import Context
from phoenix_ga.agent.dialects.native import network as commands
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.linux import netlink, rtnetlink
from phoenix_ga.agent.operations import network
from phoenix_ga.wire.commands import BY_NAME
from tests.network import ip, ip_batch, ip_json

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
CONTEXT = cast("Context", SimpleNamespace())


def ip_refuses(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True).returncode != 0


def pyroute2_errno(kind: str, command: str, interface: str, **arguments: Any) -> int:
    """Return the errno with which the kernel refuses what pyroute2 asks for, 0 where it does not.

    kind: `addr` or `route`. Empty arguments are left out.
    """
    with IPRoute() as ipr:
        index = next(iter(ipr.link_lookup(ifname=interface)), 2**31 - 1)
        given = {name: value for name, value in arguments.items() if value != ""}
        try:
            getattr(ipr, kind)(command, **{"index" if kind == "addr" else "oif": index}, **given)
        except NetlinkError as error:
            return int(error.code)
    return 0


def netifaces() -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in commands.get_netifaces(CONTEXT)}


def run(command: str, **arguments: Any) -> Any:
    return NATIVE.handler(BY_NAME[command])(CONTEXT, **arguments)


def route_add(ifname: str, dst: str, *, src: str = "", gateway: str = "", scope: int = 0) -> bool:
    return run("route-add", ifname=ifname, dst=dst, src=src, gateway=gateway, scope=scope) is True


def route_del(ifname: str, dst: str, *, src: str = "", gateway: str = "", scope: int = 0) -> bool:
    return run("route-del", ifname=ifname, dst=dst, src=src, gateway=gateway, scope=scope) is True


def addresses_by_ip() -> dict[str, list[str]]:
    return {
        item["ifname"]: [f"{address['local']}/{address['prefixlen']}" for address in item["addr_info"]]
        for item in ip_json("address", "show")
        if item
    }


def addresses_by_pyroute2() -> dict[str, list[str]]:
    with IPRoute() as ipr:
        names = {link["index"]: link.get("ifname") for link in ipr.get_links()}
        found: dict[str, list[str]] = {name: [] for name in names.values()}
        for address in ipr.get_addr():
            local = address.get("IFA_LOCAL") or address.get("IFA_ADDRESS")
            found[names[address["index"]]].append(f"{local}/{address['prefixlen']}")
    return found


def expected_destination(text: str, version: int) -> dict[str, str]:
    if text == "default":
        return {"ip": "", "mask": ""}
    destination = ipaddress.ip_network(text)
    assert destination.version == version
    return {"ip": str(destination.network_address), "mask": str(destination.netmask)}


def routes_by_ip(family: int) -> list[dict[str, Any]]:
    version = 4 if family == AF_INET else 6
    found = []
    for route in ip_json(f"-{version}", "route", "show"):
        for hop in route.get("nexthops", [route]):
            found.append(
                {
                    "ifname": hop.get("dev", ""),
                    "scope": SCOPES[route["scope"]],
                    "dst": expected_destination(route["dst"], version),
                    "src": route.get("prefsrc", ""),
                    "gateway": hop.get("gateway") or hop.get("via", {}).get("host", ""),
                }
            )
    return found


def routes_by_pyroute2(family: int) -> list[dict[str, Any]]:
    found = []
    with IPRoute() as ipr:
        names = {link["index"]: link.get("ifname") for link in ipr.get_links()}
        for route in ipr.get_routes(family=family, table=254):
            destination = f"{route.get('RTA_DST')}/{route['dst_len']}" if route["dst_len"] else "default"
            for hop in route.get("RTA_MULTIPATH") or [route]:
                via = hop.get("RTA_VIA")
                found.append(
                    {
                        "ifname": names.get(hop.get("RTA_OIF") or hop.get("oif"), ""),
                        "scope": route["scope"],
                        "dst": expected_destination(destination, 4 if family == AF_INET else 6),
                        "src": route.get("RTA_PREFSRC") or "",
                        "gateway": hop.get("RTA_GATEWAY") or (via["addr"] if via else ""),
                    }
                )
    return found


def assert_all_see_the_same_routes() -> list[dict[str, Any]]:
    both = []
    for family in (AF_INET, AF_INET6):
        ours = commands.get_route_list(CONTEXT, family=family)
        assert ours == routes_by_ip(family)
        assert sorted(map(repr, ours)) == sorted(map(repr, routes_by_pyroute2(family)))
        both += ours
    assert commands.get_route_list(CONTEXT, family=AF_UNSPEC) == both
    return both


def assert_all_see_the_same_addresses() -> dict[str, list[str]]:
    ours = {name: item["ips"] for name, item in netifaces().items()}
    assert ours == addresses_by_ip()
    assert ours == addresses_by_pyroute2()
    return ours


@pytest.mark.root
class TestInterfaces:
    def test_a_new_namespace_has_a_loopback_without_address(self, namespace: None) -> None:
        assert commands.get_netifaces(CONTEXT) == [
            {"index": 1, "name": "lo", "hwaddr": "", "flags": "loopback", "kind": "", "container": False, "ips": []}
        ]
        assert assert_all_see_the_same_routes() == []

    def test_every_kind_of_interface_is_told_as_iproute2_tells_it(self, ethernet: None) -> None:
        ip("link", "add", "br0", "type", "bridge")
        ip("tuntap", "add", "tun0", "mode", "tun")
        ip("link", "add", "link", "eth0", "mac0", "type", "macvlan")
        words = {
            "UP": "up",
            "BROADCAST": "broadcast",
            "LOOPBACK": "loopback",
            "POINTOPOINT": "pointtopoint",
            "MULTICAST": "multicast",
        }
        shown = ip_json("address", "show")
        assert [(item["index"], item["name"]) for item in netifaces().values()] == [
            (item["ifindex"], item["ifname"]) for item in shown
        ]
        for item in shown:
            ours = netifaces()[item["ifname"]]
            assert ours["flags"] == "|".join(word for flag, word in words.items() if flag in item["flags"])
            assert ours["hwaddr"] == item.get("address", "").replace("00:00:00:00:00:00", "")
        assert netifaces()["tun0"]["hwaddr"] == ""
        assert netifaces()["lo"]["flags"] == "up|loopback"
        assert netifaces()["eth0"]["flags"] == "up|broadcast|multicast"

    def test_the_end_of_a_tunnel_is_no_hardware_address(self) -> None:
        link = rtnetlink.Link(5, "sit1", 0, network.ARPHRD_SIT, bytes((192, 0, 2, 1)))
        assert network.hardware_address(link) == ""

    def test_an_interface_goes_up_and_down(self, ethernet: None) -> None:
        assert run("net-iface-down", ifname="eth0") is True
        assert "UP" not in ip_json("link", "show", "eth0")[0]["flags"]
        assert netifaces()["eth0"]["flags"] == "broadcast|multicast"
        assert run("net-iface-up", ifname="eth0") is True
        assert "UP" in ip_json("link", "show", "eth0")[0]["flags"]
        # Once more is fine.
        assert run("net-iface-up", ifname="eth0") is True

    @pytest.mark.parametrize("name", ["eth9", "", "an-interface-with-a-long-name", "eth0\0", "\ud800", "e/h"])
    def test_an_interface_that_is_not_there_is_enodev(self, ethernet: None, name: str) -> None:
        with pytest.raises(OSError, match="there is no such interface") as caught:
            run("net-iface-up", ifname=name)
        assert caught.value.errno == errno.ENODEV


@pytest.mark.root
class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "broadcast"),
        [
            ("192.0.2.10/24", "192.0.2.255"),
            ("10.0.0.1/8", "10.255.255.255"),
            ("192.0.2.1/30", "192.0.2.3"),
            ("192.0.2.1/31", None),
            ("192.0.2.1/32", None),
            ("127.9.9.9/8", "127.255.255.255"),
            ("2001:db8::10/64", None),
            ("2001:db8::10/128", None),
            ("fe80::10/64", None),
        ],
    )
    def test_an_address_comes_out_as_iproute2_would_have_made_it(
        self, ethernet: None, address: str, broadcast: str | None
    ) -> None:
        assert run("ipaddr-add", ip=address, ifname="eth0") is True
        ours = ip_json("address", "show", "dev", "eth0")[0]["addr_info"]
        assert ours[0].get("broadcast") == broadcast
        routes = routes_by_ip(AF_INET) + routes_by_ip(AF_INET6)
        assert assert_all_see_the_same_addresses()["eth0"] == [address]
        assert_all_see_the_same_routes()

        assert run("ipaddr-del", ip=address, ifname="eth0") is True
        assert netifaces()["eth0"]["ips"] == []

        ip("address", "add", address, *(["broadcast", "+"] if broadcast else []), "dev", "eth0")
        assert ip_json("address", "show", "dev", "eth0")[0]["addr_info"] == ours
        assert routes_by_ip(AF_INET) + routes_by_ip(AF_INET6) == routes

    def test_secondary_addresses_are_all_listed(self, ethernet: None) -> None:
        for address in ("192.0.2.10/24", "192.0.2.11/24", "198.51.100.1/25", "2001:db8::1/64", "2001:db8::2/64"):
            run("ipaddr-add", ip=address, ifname="eth0")
        assert len(assert_all_see_the_same_addresses()["eth0"]) == 5

    def test_of_a_point_to_point_address_this_end_is_listed_and_can_be_removed(self, ethernet: None) -> None:
        ip("tuntap", "add", "tun0", "mode", "tun")
        ip("address", "add", "192.0.2.1", "peer", "192.0.2.2/32", "dev", "tun0")
        ip("address", "add", "2001:db8::1", "peer", "2001:db8::2/128", "dev", "tun0")
        ours = assert_all_see_the_same_addresses()["tun0"]
        assert ours == ["192.0.2.1/32", "2001:db8::1/128"]
        for address in ours:
            run("ipaddr-del", ip=address, ifname="tun0")
        assert netifaces()["tun0"]["ips"] == []

    def test_a_thousand_addresses_are_listed_in_order(self, ethernet: None) -> None:
        wanted = [f"10.{number >> 8}.{number & 255}.1/32" for number in range(1000)]
        ip_batch(*(f"address add {address} dev eth0" for address in wanted))
        assert assert_all_see_the_same_addresses()["eth0"] == wanted

    @pytest.mark.parametrize(
        ("command", "address", "interface", "code"),
        [
            ("add", "192.0.2.10/24", "eth0", errno.EEXIST),
            ("add", "2001:db8::10/64", "eth0", errno.EEXIST),
            ("add", "192.0.2.10/24", "eth9", errno.ENODEV),
            ("add", "2001:db8::10/64", "eth9", errno.ENODEV),
            ("add", "ff02::1/64", "eth0", errno.EADDRNOTAVAIL),
            ("add", "::/64", "eth0", errno.EADDRNOTAVAIL),
            ("del", "192.0.2.11/24", "eth0", errno.EADDRNOTAVAIL),
            ("del", "192.0.2.10/25", "eth0", errno.EADDRNOTAVAIL),
            ("del", "2001:db8::11/64", "eth0", errno.EADDRNOTAVAIL),
            ("del", "2001:db8::10/65", "eth0", errno.EADDRNOTAVAIL),
            ("del", "192.0.2.10/24", "eth9", errno.ENODEV),
            ("del", "192.0.2.10/24", "eth1", errno.EADDRNOTAVAIL),
        ],
    )
    def test_a_mistake_has_the_errno_of_the_kernel(
        self, ethernet: None, command: str, address: str, interface: str, code: int
    ) -> None:
        ip_batch("address add 192.0.2.10/24 dev eth0", "address add 2001:db8::10/64 dev eth0")
        with pytest.raises(OSError, match=f"'{address}' of '{interface}'") as caught:
            run(f"ipaddr-{command}", ip=address, ifname=interface)
        assert caught.value.errno == code
        assert ip_refuses("address", command, address, "dev", interface)
        bare, length = address.split("/")
        assert pyroute2_errno("addr", command, interface, address=bare, prefixlen=int(length)) == code

    @pytest.mark.parametrize(
        "text",
        ["", "192.0.2.1", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/-1", "192.0.2/24", "2001:db8::1/129", "x/24"],
    )
    def test_what_is_no_address_is_einval_and_named(self, ethernet: None, text: str) -> None:
        with pytest.raises(OSError, match=f"address '{text}'") as caught:
            run("ipaddr-add", ip=text, ifname="eth0")
        assert caught.value.errno == errno.EINVAL


@pytest.mark.root
class TestRoutes:
    @pytest.fixture(autouse=True)
    def _addresses(self, ethernet: None) -> None:
        ip_batch(
            "address add 192.0.2.10/24 dev eth0",
            "address add 2001:db8::10/64 dev eth0 nodad",
            "address add fe80::10/64 dev eth0 nodad",
        )

    @pytest.mark.parametrize("kernel", ["of-today", "before-4.12"])
    def test_all_that_iproute2_shows_is_listed(self, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if kernel == "before-4.12":
            # An option that no kernel knows, in place of one that old kernels don't: all tables are sent.
            monkeypatch.setattr(netlink, "NETLINK_EXT_ACK", 9999)
        ip_batch(
            "route add default via 192.0.2.1 dev eth0",
            "route add default via 192.0.2.2 dev eth0 metric 100",
            "route add 198.51.100.0/24 via 192.0.2.1",
            "route add 198.51.100.0/24 dev eth1 metric 7",
            "route add 198.51.100.77 dev eth1 src 192.0.2.10",
            "route add 10.1.0.0/16 nexthop via 192.0.2.3 dev eth0 nexthop dev eth1",
            "nexthop add id 1 via 192.0.2.4 dev eth0",
            "nexthop add id 2 via 192.0.2.5 dev eth0",
            "nexthop add id 3 group 1/2",
            "route add 10.2.0.0/16 nhid 3",
            "route add 10.3.0.0/16 nhid 1",
            "route add 10.4.0.0/16 via inet6 fe80::1 dev eth0",
            "route add blackhole 10.5.0.0/16",
            "route add unreachable 10.6.0.0/16",
            "route add prohibit 10.7.0.0/16",
            "route add throw 10.8.0.0/16",
            "route add local 10.9.0.0/16 dev lo table main",
            "route add multicast 239.0.0.0/8 dev eth0",
            "route add 10.10.0.0/16 dev eth1 table 100",
            "route add 10.11.0.0/16 dev eth1 table 1000",
            "route add 2001:db8:1::/48 via 2001:db8::1",
            "route add 2001:db8:2::/48 via fe80::1 dev eth0 src 2001:db8::10",
            "route add 2001:db8:3::1 dev eth1 metric 5",
            "route add 2001:db8:4::/48 nexthop via 2001:db8::1 dev eth0 nexthop via 2001:db8::2 dev eth0",
            "route add default via 2001:db8::1",
            "route add blackhole 2001:db8:5::/48",
            "route add unreachable 2001:db8:6::/48",
            "route add local 2001:db8:7::/48 dev lo table main",
            "route add 2001:db8:8::/48 dev eth1 table 100",
        )
        for family in (AF_INET, AF_INET6):
            assert commands.get_route_list(CONTEXT, family=family) == routes_by_ip(family)
        ours = commands.get_route_list(CONTEXT, family=AF_UNSPEC)
        assert ours == routes_by_ip(AF_INET) + routes_by_ip(AF_INET6)

        def hops(destination: str) -> list[tuple[str, str]]:
            return [(route["ifname"], route["gateway"]) for route in ours if route["dst"]["ip"] == destination]

        assert hops("10.1.0.0") == [("eth0", "192.0.2.3"), ("eth1", "")]
        assert hops("10.2.0.0") == [("eth0", "192.0.2.4"), ("eth0", "192.0.2.5")]
        assert hops("10.3.0.0") == [("eth0", "192.0.2.4")]
        assert hops("10.4.0.0") == [("eth0", "fe80::1")]
        assert hops("10.5.0.0") == [("", "")]
        assert hops("10.10.0.0") == hops("10.11.0.0") == hops("2001:db8:8::") == []
        assert hops("2001:db8:4::") == [("eth0", "2001:db8::1"), ("eth0", "2001:db8::2")]
        assert hops("") == [("eth0", "192.0.2.1"), ("eth0", "192.0.2.2"), ("eth0", "2001:db8::1")]

    def test_what_the_kernel_remembers_of_the_way_to_a_host_is_no_route(self) -> None:
        ip("route", "add", "198.51.100.0/24", "via", "192.0.2.1", "mtu", "1280")
        ip("route", "get", "198.51.100.1")
        ip("-6", "route", "get", "2001:db8::7")
        assert_all_see_the_same_routes()

    @pytest.mark.parametrize(
        ("dst", "src", "gateway", "scope", "by_ip"),
        [
            ("198.51.100.0/24", "", "192.0.2.1", 0, "198.51.100.0/24 via 192.0.2.1"),
            ("203.0.113.0/24", "192.0.2.10", "", 253, "203.0.113.0/24 src 192.0.2.10 scope link"),
            ("203.0.113.0/24", "", "", 253, "203.0.113.0/24"),
            ("203.0.113.0/24", "", "", 0, "203.0.113.0/24 scope global"),
            ("203.0.113.7", "", "", 253, "203.0.113.7"),
            ("default", "", "192.0.2.1", 0, "default via 192.0.2.1"),
            ("0.0.0.0/0", "192.0.2.10", "192.0.2.1", 0, "default via 192.0.2.1 src 192.0.2.10"),
            ("default", "", "", 253, "default"),
            ("2001:db8:1::/48", "", "2001:db8::1", 0, "2001:db8:1::/48 via 2001:db8::1"),
            ("2001:db8:1::/48", "", "fe80::1", 0, "2001:db8:1::/48 via fe80::1"),
            ("2001:db8:1::/48", "2001:db8::10", "", 0, "2001:db8:1::/48 src 2001:db8::10"),
            ("2001:db8:1::1", "", "", 0, "2001:db8:1::1"),
            ("2001:db8:1::1/48", "", "", 0, "2001:db8:1::/48"),
            ("default", "", "2001:db8::1", 0, "default via 2001:db8::1"),
            ("default", "2001:db8::10", "", 0, "-6 default src 2001:db8::10"),
            ("::/0", "", "fe80::1", 0, "default via fe80::1"),
        ],
    )
    def test_a_route_comes_out_as_iproute2_would_have_made_it(
        self, dst: str, src: str, gateway: str, scope: int, by_ip: str
    ) -> None:
        before = assert_all_see_the_same_routes()
        assert route_add("eth0", dst, src=src, gateway=gateway, scope=scope) is True
        ours = ip_json("route", "show") + ip_json("-6", "route", "show")
        assert len(assert_all_see_the_same_routes()) == len(before) + 1

        assert route_del("eth0", dst, src=src, gateway=gateway, scope=scope) is True
        assert assert_all_see_the_same_routes() == before

        family = ["-6"] if by_ip.startswith("-6 ") else []
        ip(*family, "route", "add", *by_ip.replace("-6 ", "").split(), "dev", "eth0")
        assert ip_json("route", "show") + ip_json("-6", "route", "show") == ours

    def test_a_route_whose_next_hop_the_kernel_keeps_to_itself_is_listed_without(self) -> None:
        ip_batch("nexthop add id 1 via 192.0.2.4 dev eth0", "route add 10.3.0.0/16 nhid 1")
        with open("/proc/sys/net/ipv4/nexthop_compat_mode", "w") as setting:
            setting.write("0")
        assert ip_json("route", "show", "10.3.0.0/16")[0].get("dev") is None
        ours = commands.get_route_list(CONTEXT, family=AF_INET)
        assert [(route["ifname"], route["gateway"]) for route in ours if route["dst"]["ip"] == "10.3.0.0"] == [
            ("", "")
        ]

    def test_five_thousand_routes_are_listed_in_order(self) -> None:
        ip_batch(*(f"route add 10.{number >> 8}.{number & 255}.0/24 via 192.0.2.1" for number in range(5000)))
        ours = commands.get_route_list(CONTEXT, family=AF_INET)
        assert len(ours) == 5001
        assert ours == routes_by_ip(AF_INET)

    def test_routes_that_change_meanwhile_are_never_listed_twice(self) -> None:
        ip_batch(*(f"route add 10.{number >> 8}.{number & 255}.0/24 via 192.0.2.1" for number in range(2000)))
        flapping = "\n".join(["route add 9.0.0.0/24 dev eth1", "route del 9.0.0.0/24 dev eth1"] * 200)
        with subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as other:
            assert other.stdin is not None
            other.stdin.write(flapping)
            other.stdin.close()
            for _ in range(5):
                listed = [route["dst"]["ip"] for route in commands.get_route_list(CONTEXT, family=AF_INET)]
                assert len(set(listed)) == len(listed)
                assert len(listed) in (2001, 2002)

    def test_only_the_route_that_has_all_that_is_given_is_deleted(self) -> None:
        ip_batch(
            "route add 198.51.100.0/24 via 192.0.2.1 metric 1",
            "route add 198.51.100.0/24 via 192.0.2.2 metric 2",
            "route add 203.0.113.0/24 dev eth0",
        )
        route_del("eth0", "198.51.100.0/24", gateway="192.0.2.2")
        with pytest.raises(OSError, match="there is no such route"):
            route_del("eth0", "198.51.100.0/24", gateway="192.0.2.2")
        with pytest.raises(OSError, match="there is no such route"):
            route_del("eth1", "198.51.100.0/24")
        # A route to a link has the scope of the link, and scope 0 is another one.
        with pytest.raises(OSError, match="there is no such route"):
            route_del("eth0", "203.0.113.0/24")
        route_del("eth0", "203.0.113.0/24", scope=253)
        assert [route["dst"] for route in ip_json("route", "show")] == ["192.0.2.0/24", "198.51.100.0/24"]

    @pytest.mark.parametrize(
        ("command", "interface", "dst", "src", "gateway", "scope", "code"),
        [
            ("add", "eth0", "198.51.100.0/24", "", "192.0.2.1", 0, errno.EEXIST),
            ("add", "eth0", "2001:db8:1::/48", "", "2001:db8::1", 0, errno.EEXIST),
            ("add", "eth0", "203.0.113.0/24", "", "10.9.9.9", 0, errno.ENETUNREACH),
            ("add", "eth0", "2001:db8:2::/48", "", "2001:db8:9::9", 0, errno.EHOSTUNREACH),
            ("add", "eth9", "203.0.113.0/24", "", "", 253, errno.ENODEV),
            ("add", "eth0", "203.0.113.1/24", "", "", 253, errno.EINVAL),
            ("add", "eth0", "203.0.113.0/24", "10.9.9.9", "", 253, errno.EINVAL),
            ("add", "eth0", "2001:db8:2::/48", "2001:db8:9::9", "", 0, errno.EINVAL),
            ("add", "eth0", "203.0.113.0/24", "", "192.0.2.1", 254, errno.EINVAL),
            ("del", "eth0", "203.0.113.0/24", "", "", 253, errno.ESRCH),
            ("del", "eth0", "2001:db8:2::/48", "", "", 0, errno.ESRCH),
            ("del", "eth0", "198.51.100.0/24", "", "192.0.2.9", 0, errno.ESRCH),
        ],
    )
    def test_a_mistake_has_the_errno_of_the_kernel(
        self, command: str, interface: str, dst: str, src: str, gateway: str, scope: int, code: int
    ) -> None:
        ip_batch("route add 198.51.100.0/24 via 192.0.2.1", "route add 2001:db8:1::/48 via 2001:db8::1")
        handler = route_add if command == "add" else route_del
        with pytest.raises(OSError, match=f"route '{dst}'") as caught:
            handler(interface, dst, src=src, gateway=gateway, scope=scope)
        assert caught.value.errno == code
        arguments = ["route", command, dst, "dev", interface, "scope", str(scope)]
        arguments += ["via", gateway] if gateway else []
        arguments += ["src", src] if src else []
        assert ip_refuses(*arguments)
        assert pyroute2_errno("route", command, interface, dst=dst, prefsrc=src, gateway=gateway, scope=scope) == code

    def test_a_route_by_an_interface_that_is_not_there_is_enodev_to_delete_as_well(self) -> None:
        with pytest.raises(OSError, match="there is no such interface") as caught:
            route_del("eth9", "198.51.100.0/24")
        assert caught.value.errno == errno.ENODEV

    @pytest.mark.parametrize(
        ("dst", "src", "gateway", "named"),
        [
            ("", "", "192.0.2.1", "destination is empty"),
            ("198.51.100.0/33", "", "", "'33' is no prefix length"),
            ("198.51.100/24", "", "", "'198.51.100' is no IPv4"),
            ("198.51.100.0/24", "192.0.2.256", "", "'192.0.2.256' is no"),
            ("198.51.100.0/24", "", "fe80::1", "gateway fe80::1 is not IPv4"),
            ("198.51.100.0/24", "2001:db8::10", "", "source 2001:db8::10 is not IPv4"),
            ("2001:db8:1::/48", "", "192.0.2.1", "gateway 192.0.2.1 is not IPv6"),
            ("default", "192.0.2.10", "fe80::1", "source 192.0.2.10 is not IPv6"),
        ],
    )
    def test_what_can_be_no_route_is_einval_and_named(self, dst: str, src: str, gateway: str, named: str) -> None:
        with pytest.raises(OSError, match=named) as caught:
            route_add("eth0", dst, src=src, gateway=gateway)
        assert caught.value.errno == errno.EINVAL


def route_message(family: int, *, table: int = 254, kind: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 3, 0, kind, flags)


def test_what_a_kernel_without_ipv6_or_with_one_table_for_it_adds_is_not_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = [
        route_message(AF_INET),
        route_message(AF_INET6, kind=rtnetlink.RTN_LOCAL),
        route_message(AF_INET6, flags=rtnetlink.RTM_F_CLONED),
        route_message(AF_INET6, table=255),
        route_message(AF_INET6, table=252) + netlink.attribute(rtnetlink.RTA_TABLE, struct.pack("=I", 1000)),
    ]
    monkeypatch.setattr(rtnetlink, "dump", lambda *_: messages)
    assert commands.get_route_list(CONTEXT, family=AF_INET6) == []
    assert len(commands.get_route_list(CONTEXT, family=AF_INET)) == 1


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
almost_addresses = st.text("0123456789abcdefg.:/% +-\n\u0662", max_size=24)


@given(addresses, st.integers(0, 140))
def test_a_prefix_is_read_as_the_standard_library_reads_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    text = f"{address}/{length}"
    if length > address.max_prefixlen:
        with pytest.raises(OSError, match="is no prefix length"):
            network.parse_prefix(text)
    else:
        family = AF_INET if address.version == 4 else AF_INET6
        assert network.parse_prefix(text) == (family, address.packed, length)
        assert network.parse_prefix(str(address)) == (family, address.packed, address.max_prefixlen)
        assert network.network_mask(family, length) == str(ipaddress.ip_interface(text).netmask)


@given(st.one_of(almost_addresses, st.text(max_size=24), st.builds("{}/{}".format, addresses, almost_addresses)))
def test_nothing_is_read_as_a_prefix_that_the_standard_library_refuses(text: str) -> None:
    try:
        family, raw, length = network.parse_prefix(text)
    except OSError as error:
        read, code = None, error.errno
    else:
        read, code = (family, raw, length), 0
    if read is None:
        assert code == errno.EINVAL
    else:
        wanted = ipaddress.ip_interface(text)
        assert read == (AF_INET if wanted.version == 4 else AF_INET6, wanted.packed, wanted.network.prefixlen)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_the_broadcast_address_is_that_of_the_standard_library(address: ipaddress.IPv4Address, length: int) -> None:
    wanted = ipaddress.ip_network(f"{address}/{length}", strict=False).broadcast_address
    assert network._broadcast_address(address.packed, length) == wanted.packed
