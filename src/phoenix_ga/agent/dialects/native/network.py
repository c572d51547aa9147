"""The network commands of the Phoenix dialect."""

from __future__ import annotations

from phoenix_ga.agent.operations import network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def get_netifaces(context: Context) -> list[dict[str, Any]]:
    """List the interfaces and their addresses."""
    return [
        {
            "index": interface.index,
            "name": interface.name,
            "hwaddr": interface.hardware_address,
            "flags": "|".join(interface.flags),
            "ips": [f"{address.ip}/{address.prefix_length}" for address in interface.addresses],
        }
        for interface in network.interfaces()
    ]


def ipaddr_add(context: Context, *, ip: str, ifname: str) -> bool:
    """Add an address to an interface."""
    network.add_address(ip, ifname)
    return True


def ipaddr_del(context: Context, *, ip: str, ifname: str) -> bool:
    """Remove an address from an interface."""
    network.remove_address(ip, ifname)
    return True


def net_iface_up(context: Context, *, ifname: str) -> bool:
    """Set an interface up."""
    network.set_interface(ifname, up=True)
    return True


def net_iface_down(context: Context, *, ifname: str) -> bool:
    """Set an interface down."""
    network.set_interface(ifname, up=False)
    return True


def get_route_list(context: Context, *, family: int) -> list[dict[str, Any]]:
    """List the routes of the main table."""
    return [
        {
            "ifname": route.interface,
            "scope": route.scope,
            "dst": _destination(route),
            "src": route.source,
            "gateway": route.gateway,
        }
        for route in network.routes(family)
    ]


def route_add(context: Context, *, ifname: str, dst: str, src: str, gateway: str, scope: int) -> bool:
    """Add a route to the main table."""
    network.add_route(ifname, dst, source=src, gateway=gateway, scope=scope)
    return True


def route_del(context: Context, *, ifname: str, dst: str, src: str, gateway: str, scope: int) -> bool:
    """Delete a route of the main table."""
    network.delete_route(ifname, dst, source=src, gateway=gateway, scope=scope)
    return True


def _destination(route: network.Route) -> dict[str, str]:
    # Clients know the default route by its empty members.
    if not route.prefix_length:
        return {"ip": "", "mask": ""}
    return {"ip": route.destination, "mask": network.network_mask(route.family, route.prefix_length)}
