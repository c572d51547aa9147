"""Commands on network interfaces and routes."""

from __future__ import annotations

from phoenix_ga.agent.operations import network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def get_netifaces(context: Context) -> list[dict[str, Any]]:
    return [
        {
            "index": interface.index,
            "name": interface.name,
            "hwaddr": interface.hardware_address,
            "flags": "|".join(interface.flags),
            "kind": interface.kind,
            "container": interface.container,
            "ips": [f"{address.ip}/{address.prefix_length}" for address in interface.addresses],
        }
        for interface in network.interfaces()
    ]


def get_route_list(context: Context, family: int) -> list[dict[str, Any]]:
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


def _destination(route: network.Route) -> dict[str, str]:
    # Clients recognize the default route by the empty members.
    if not route.prefix_length:
        return {"ip": "", "mask": ""}
    return {"ip": route.destination, "mask": network.network_mask(route.family, route.prefix_length)}


def net_persist(context: Context, ifname: str, dry_run: bool) -> dict[str, str]:
    from phoenix_ga.agent.operations.network_files.managers import persist_active

    return persist_active(ifname, dry_run)
