"""Commands about the network."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import GuestCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final[tuple[GuestCommand, ...]] = (
    GuestCommand(
        "guest-network-get-interfaces",
        "network:guest_network_get_interfaces",
        "List the interfaces, their addresses, and what went over them.",
        governed_by=("get-netifaces",),
    ),
    GuestCommand(
        "guest-network-get-route",
        "network:guest_network_get_route",
        "List the routes of IPv4 and IPv6.",
        governed_by=("get-route-list",),
    ),
)
