"""Commands about the network."""

from __future__ import annotations

from phoenix_ga.agent.operations import network, route_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.context import Context

# The hardware address of interfaces that have none, such as the loopback interface.
_NO_ADDRESS: Final = "00:00:00:00:00:00"


def guest_network_get_interfaces(context: Context) -> list[dict[str, Any]]:
    """List the interfaces; those without an address have no statistics either, as clients expect.

    Addresses with a label of their own are listed under that, as getifaddrs(3) does.
    """
    interfaces = network.interfaces()
    statistics = route_tables.interface_statistics()
    found = {interface.name: _entry(interface.name, interface) for interface in interfaces}
    for interface in interfaces:
        for address in interface.addresses:
            entry = found.setdefault(address.label, _entry(address.label, interface))
            entry.setdefault("ip-addresses", []).append(
                {
                    "ip-address": address.ip,
                    "ip-address-type": "ipv6" if ":" in address.ip else "ipv4",
                    "prefix": address.prefix_length,
                }
            )
            if address.label in statistics:
                entry["statistics"] = statistics[address.label]
    return list(found.values())


def _entry(name: str, interface: network.Interface) -> dict[str, Any]:
    return {"name": name, "hardware-address": interface.hardware_address or _NO_ADDRESS}


def guest_network_get_route(context: Context) -> list[dict[str, Any]]:
    return [*map(_route4, route_tables.routes4()), *map(_route6, route_tables.routes6())]


def _route4(route: route_tables.Route4) -> dict[str, Any]:
    return {
        "iface": route.interface,
        "destination": route.destination,
        "metric": route.metric,
        "gateway": route.gateway,
        "mask": route.mask,
        "irtt": route.initial_time,
        "flags": route.flags,
        "refcnt": route.references,
        "use": route.uses,
        "window": route.window,
        "mtu": route.mtu,
        "version": 4,
    }


def _route6(route: route_tables.Route6) -> dict[str, Any]:
    return {
        "iface": route.interface,
        "destination": route.destination,
        "metric": route.metric,
        "source": route.source,
        "nexthop": route.next_hop,
        "desprefixlen": str(route.prefix_length),
        "srcprefixlen": str(route.source_prefix_length),
        "flags": route.flags,
        "refcnt": route.references,
        "use": route.uses,
        "version": 6,
    }
