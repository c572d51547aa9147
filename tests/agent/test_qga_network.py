"""Interfaces and routes as the QEMU Guest Agent's clients get them, in network namespaces of their own."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.context import Context
from phoenix_ga.agent.dialects.qga import network
from phoenix_ga.agent.operations import route_tables
from tests.network import ip, ip_batch, ip_json, new_namespace

CONTEXT = cast("Context", SimpleNamespace())
COUNTERS = {f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errs", "dropped")}


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with new_namespace():
        ip_batch("link set lo up", "link add left type veth peer name right", "link set left up", "link set right up")
        yield


def interfaces() -> dict[str, dict[str, Any]]:
    return {interface["name"]: interface for interface in network.guest_network_get_interfaces(CONTEXT)}


def told(interface: dict[str, Any]) -> list[str]:
    return [f"{address['ip-address']}/{address['prefix']}" for address in interface.get("ip-addresses", ())]


def test_interfaces_and_addresses_are_those_that_iproute2_lists() -> None:
    ip_batch(
        "addr add 198.51.100.7/24 dev left",
        "addr add 198.51.100.8/24 dev left",
        "addr add 2001:db8::7/64 dev left nodad",
        "link add bridge0 type bridge",
    )
    found = interfaces()
    listed = ip_json("address", "show")
    assert list(found) == [each["ifname"] for each in listed]
    for each in listed:
        assert told(found[each["ifname"]]) == [f"{one['local']}/{one['prefixlen']}" for one in each["addr_info"]]
        assert found[each["ifname"]]["hardware-address"] == each["address"]
    kinds = [address["ip-address-type"] for address in found["left"]["ip-addresses"]]
    assert kinds == ["ipv4", "ipv4", *["ipv6"] * (len(kinds) - 2)]


def test_one_without_addresses_has_neither_a_list_of_them_nor_counters() -> None:
    ip_batch("link add bridge0 type bridge")
    found = interfaces()
    assert set(found["bridge0"]) == {"name", "hardware-address"}
    assert set(found["lo"]) == {"name", "hardware-address", "ip-addresses", "statistics"}
    assert set(found["lo"]["statistics"]) == COUNTERS


def test_the_counters_are_those_of_the_interface() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        for _ in range(3):
            own.sendto(b"x" * 100, own.getsockname())
    (listed,) = ip_json("-statistics", "link", "show", "dev", "lo")
    names = {"bytes": "bytes", "packets": "packets", "errs": "errors", "dropped": "dropped"}
    counted = {f"{way}-{name}": listed["stats64"][way][word] for way in ("rx", "tx") for name, word in names.items()}
    assert counted["tx-packets"] >= 3
    assert interfaces()["lo"]["statistics"] == counted


def test_of_a_point_to_point_address_this_end_is_told() -> None:
    ip("address", "add", "10.1.1.1", "peer", "10.1.1.2/32", "dev", "left")
    assert "10.1.1.1/32" in told(interfaces()["left"])


def test_an_interface_without_a_hardware_address_has_one_of_zeros() -> None:
    ip("tuntap", "add", "tun0", "mode", "tun")
    ip("address", "add", "10.3.3.3/24", "dev", "tun0")
    assert interfaces()["tun0"]["hardware-address"] == "00:00:00:00:00:00"


def test_an_address_with_a_label_is_under_that_name_and_after_all_interfaces() -> None:
    ip_batch(
        "addr add 10.2.0.1/24 dev left",
        "addr add 10.2.0.2/24 dev left label left:1",
        "addr add 10.2.0.3/24 dev left label left:1",
    )
    found = interfaces()
    assert list(found)[-1] == "left:1"
    assert told(found["left:1"]) == ["10.2.0.2/24", "10.2.0.3/24"]
    assert "10.2.0.1/24" in told(found["left"])
    assert "10.2.0.2/24" not in told(found["left"])
    assert found["left:1"]["hardware-address"] == found["left"]["hardware-address"]
    # The kernel counts for the interface alone.
    assert "statistics" not in found["left:1"]


def test_routes_are_those_that_iproute2_lists() -> None:
    ip_batch(
        "addr add 198.51.100.7/24 dev left",
        "addr add 2001:db8::7/64 dev left nodad",
        "route add 203.0.113.0/25 via 198.51.100.1 metric 7 advmss 1360",
        "route add default via 198.51.100.254",
        "route add 2001:db8:5::/48 via 2001:db8::1 metric 9",
    )
    routes = network.guest_network_get_route(CONTEXT)
    by_destination = {(each["destination"], each.get("mask")): each for each in routes if each["version"] == 4}
    assert len(by_destination) == len(ip_json("-4", "route", "show"))
    assert by_destination["203.0.113.0", "255.255.255.128"] == {
        "iface": "left",
        "destination": "203.0.113.0",
        "metric": 7,
        "gateway": "198.51.100.1",
        "mask": "255.255.255.128",
        "irtt": 0,
        "flags": 3,
        "refcnt": 0,
        "use": 0,
        "window": 0,
        # What the kernel tells is the largest segment of TCP, and its headers.
        "mtu": 1400,
        "version": 4,
    }
    assert by_destination["0.0.0.0", "0.0.0.0"]["gateway"] == "198.51.100.254"
    (route,) = (each for each in routes if each["destination"] == "2001:db8:5::")
    assert route.pop("refcnt") >= 0
    assert route == {
        "iface": "left",
        "destination": "2001:db8:5::",
        "metric": 9,
        "source": "::",
        "nexthop": "2001:db8::1",
        "desprefixlen": "48",
        "srcprefixlen": "0",
        "flags": 3,
        "use": 0,
        "version": 6,
    }


def test_a_kernel_without_ipv6_has_no_routes_of_it(tmp_path: Path) -> None:
    assert list(route_tables.routes6(str(tmp_path))) == []
    assert list(route_tables.routes4(str(tmp_path))) == []


def test_the_work_grows_with_the_number_of_interfaces_only_linearly() -> None:
    def calls() -> int:
        count = 0

        def note(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(note)
        try:
            found = network.guest_network_get_interfaces(CONTEXT)
        finally:
            sys.setprofile(None)
        assert {f"many{number}" for number in range(made)} <= {each["name"] for each in found}
        return count

    work = []
    made = 0
    for upto in (50, 100, 200):
        ip_batch(
            *(f"link add many{number} type bridge" for number in range(made, upto)),
            *(f"addr add 10.0.{number}.1/24 dev many{number}" for number in range(made, upto)),
        )
        made = upto
        work.append(calls())
    assert (work[2] - work[1]) <= 2.2 * (work[1] - work[0])
