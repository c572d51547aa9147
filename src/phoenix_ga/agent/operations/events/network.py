"""Events of links, addresses and routes."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from phoenix_ga.agent.linux import rtnetlink
from phoenix_ga.agent.linux.route_changes import RouteChanges
from phoenix_ga.agent.operations.events.producer import Producer
from phoenix_ga.agent.operations.network import address_text, flag_words, hardware_address, interface_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.events.producer import Tell

_AF_BRIDGE: Final = 7


class NetworkProducer(Producer):
    """Tells a change once: the kernel announces links and addresses again when nothing of interest has changed."""

    names = (
        *("LINK_ADDED", "LINK_CHANGED", "LINK_REMOVED"),
        *("ADDRESS_ADDED", "ADDRESS_REMOVED", "ROUTE_ADDED", "ROUTE_REMOVED"),
    )

    def __init__(self) -> None:
        super().__init__(RouteChanges())
        self._links: dict[int, dict[str, Any]] = {}
        self._addresses: set[tuple[int, bytes, int]] = set()
        try:
            self.recover()
        except BaseException:
            self.source.close()
            raise

    def recover(self) -> None:
        links = {link.index: _link(link) for link in rtnetlink.links()}
        addresses = {_identity(address) for address in rtnetlink.addresses()}
        self._links, self._addresses = links, addresses

    def take(self, items: list[Any], tell: Tell) -> None:
        for kind, payload in items:
            if kind in (rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK):
                # Bridges announce their ports in the same way, in a family of their own.
                if payload[0] != _AF_BRIDGE:
                    self._take_link(kind, rtnetlink.parse_link(payload), tell)
            elif kind in (rtnetlink.RTM_NEWADDR, rtnetlink.RTM_DELADDR):
                self._take_address(kind, rtnetlink.parse_address(payload), tell)
            elif kind in (rtnetlink.RTM_NEWROUTE, rtnetlink.RTM_DELROUTE):
                for route in rtnetlink.parse_routes(payload):
                    name = "ROUTE_ADDED" if kind == rtnetlink.RTM_NEWROUTE else "ROUTE_REMOVED"
                    tell(name, self._route(route), None)

    def _take_link(self, kind: int, link: rtnetlink.Link, tell: Tell) -> None:
        data = _link(link)
        if kind == rtnetlink.RTM_DELLINK:
            if self._links.pop(link.index, None) is not None:
                tell("LINK_REMOVED", data, None)
            return
        before = self._links.get(link.index)
        self._links[link.index] = data
        if before is None:
            tell("LINK_ADDED", data, None)
        elif before != data:
            tell("LINK_CHANGED", data, link.index)

    def _take_address(self, kind: int, address: rtnetlink.Address, tell: Tell) -> None:
        if address.family not in (AF_INET, AF_INET6):
            return
        identity = _identity(address)
        data = {
            "ifname": self._name(address.index),
            "ip": f"{address_text(address.local)}/{address.prefix_length}",
        }
        if kind == rtnetlink.RTM_DELADDR:
            if identity in self._addresses:
                self._addresses.remove(identity)
                tell("ADDRESS_REMOVED", data, None)
        elif address.usable and identity not in self._addresses:
            self._addresses.add(identity)
            tell("ADDRESS_ADDED", data, None)

    def _route(self, route: rtnetlink.Route) -> dict[str, Any]:
        width = 4 if route.family == AF_INET else 16
        destination = f"{address_text(route.destination or bytes(width))}/{route.prefix_length}"
        return {
            "ifname": self._name(route.index),
            "dst": destination if route.prefix_length else "default",
            "gateway": address_text(route.gateway),
        }

    def _name(self, index: int) -> str:
        link = self._links.get(index)
        return interface_name(index) if link is None else str(link["ifname"])


def _link(link: rtnetlink.Link) -> dict[str, Any]:
    return {
        "index": link.index,
        "ifname": link.name,
        "hwaddr": hardware_address(link),
        "flags": "|".join(flag_words(link)),
        "carrier": bool(link.flags & rtnetlink.IFF_LOWER_UP),
    }


def _identity(address: rtnetlink.Address) -> tuple[int, bytes, int]:
    return address.index, address.local, address.prefix_length
