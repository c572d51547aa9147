"""Which of a guest's addresses others use to reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from phoenix_ga.wire.commands import AF_INET, AF_INET6

if TYPE_CHECKING:
    from phoenix_ga.client import NetworkInterface, Route


def primary_address(
    interfaces: Sequence[NetworkInterface], routes: Sequence[Route], family: int
) -> tuple[NetworkInterface, str] | None:
    """Return an interface and its address with the prefix length; None if there is no address that others can reach.

    It is the address that the default route is used with, IPv4 if there is one; without such a route the first
    address of an interface that serves no containers.

    Args:
        family: AF_INET or AF_INET6; 0 for any.
    """
    families = (family,) if family else (AF_INET, AF_INET6)
    for each in families:
        for route in routes:
            if route.destination or (":" in route.gateway) != (each == AF_INET6):
                continue
            on_route = [interface for interface in interfaces if interface.name == route.interface]
            found = list(_addresses(on_route, each))
            for interface, address in found:
                if route.source in ("", address.partition("/")[0]):
                    return interface, address
    others = [each for each in interfaces if not each.container and "loopback" not in each.flags]
    return next((found for each in families for found in _addresses(others, each)), None)


def _addresses(interfaces: Sequence[NetworkInterface], family: int) -> Iterator[tuple[NetworkInterface, str]]:
    for interface in interfaces:
        for text in interface.addresses:
            try:
                address = ipaddress.ip_interface(text)
            except ValueError:
                continue
            if (address.version == 6) == (family == AF_INET6) and not address.is_link_local:
                yield interface, text
