"""Conditions on addresses, routes and listening ports."""

from __future__ import annotations

import sys
from _socket import AF_INET, AF_INET6

from phoenix_ga.agent.linux import rtnetlink
from phoenix_ga.agent.operations.network import (
    address_text,
    container_links,
    hardware_address,
    interface_name,
    parse_address,
    parse_prefix,
)
from phoenix_ga.agent.operations.waiting.condition import Condition, Facts, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

_FAMILIES: Final = {"": (AF_INET, AF_INET6), "4": (AF_INET,), "6": (AF_INET6,)}
_PORT_MAX: Final = 65535
# The kernel tells of no socket that begins to listen.
_PORT_PERIOD: Final = 0.5
# The state of a listening socket in /proc/net/tcp, which has these first.
_LISTENING: Final = b"0A"


class AddressCondition(Condition):
    """An interface has an address that others can reach: `address[=4|6][,dev=NAME][,mac=ADDRESS][,cidr=PREFIX]`.

    Addresses of the loopback interface, link-local ones, duplicates and those of containers' bridges do not count,
    unless `dev` or `cidr` names them.
    """

    sources = ("routes",)

    def __init__(self, text: str, value: str) -> None:
        family, *options = value.split(",")
        if family not in _FAMILIES:
            raise wrong(text, "the family is 4 or 6")
        self._families = _FAMILIES[family]
        given = {}
        for option in options:
            name, equals, given[name] = option.partition("=")
            if name not in ("dev", "mac", "cidr") or not equals:
                raise wrong(text, "the options are dev=NAME, mac=ADDRESS and cidr=PREFIX")
        self._device = given.get("dev", "")
        self._hardware_address = given.get("mac", "").lower()
        self._network = parse_prefix(given["cidr"]) if "cidr" in given else None

    def check(self, facts: Facts) -> str | None:
        for link, address in facts.get(_addresses):
            if (
                address.family in self._families
                and self._device in ("", link.name)
                and self._hardware_address in ("", hardware_address(link))
                and (self._is_inside(address) if self._network else self._counts(link, address, facts))
            ):
                return address_text(address.local)
        return None

    def _counts(self, link: rtnetlink.Link, address: rtnetlink.Address, facts: Facts) -> bool:
        if link.flags & rtnetlink.IFF_LOOPBACK or address.scope != rtnetlink.RT_SCOPE_UNIVERSE:
            return False
        return bool(self._device) or link.index not in facts.get(_containers)

    def _is_inside(self, address: rtnetlink.Address) -> bool:
        assert self._network is not None
        family, network, length = self._network
        shift = len(network) * 8 - length
        numbers = (int.from_bytes(raw, "big") >> shift for raw in (network, address.local))
        return family == address.family and next(numbers) == next(numbers)


class RouteCondition(Condition):
    """There is a default route: `route[=4|6]`."""

    sources = ("routes",)

    def __init__(self, text: str, value: str) -> None:
        if value not in _FAMILIES:
            raise wrong(text, "the family is 4 or 6")
        self._families = _FAMILIES[value]

    def check(self, facts: Facts) -> str | None:
        for route in facts.get(_default_routes):
            if route.family in self._families:
                words = (("via", address_text(route.gateway)), ("dev", interface_name(route.index)))
                return " ".join(("default", *(f"{name} {word}" for name, word in words if word)))
        return None


class PortCondition(Condition):
    """A TCP socket listens: `port=[ADDRESS:]NUMBER`."""

    period = _PORT_PERIOD

    def __init__(self, text: str, value: str) -> None:
        host, _, number = value.rpartition(":")
        if not (number.isascii() and number.isdigit()) or not 0 < int(number[:6]) <= _PORT_MAX:
            raise wrong(text, f"the port is a number from 1 to {_PORT_MAX}")
        self._port = int(number)
        self._wanted: set[bytes] = set()
        if host:
            family, raw = parse_address(host[1:-1] if host[:1] + host[-1:] == "[]" else host)
            # A socket that listens on all IPv6 addresses usually takes IPv4 as well.
            self._wanted = {raw, bytes(len(raw)), bytes(16)}
            if family == AF_INET:
                self._wanted.add(bytes(10) + b"\xff\xff" + raw)

    def check(self, facts: Facts) -> str | None:
        for address, port in facts.get(_listening):
            if port == self._port and (not self._wanted or address in self._wanted):
                text = address_text(address)
                return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
        return None


def _containers() -> set[int]:
    return container_links(rtnetlink.links())


def _addresses() -> list[tuple[rtnetlink.Link, rtnetlink.Address]]:
    """Return the usable addresses with their links: those of the default route first, then by index."""
    links = {link.index: link for link in rtnetlink.links()}
    first = {route.index: number for number, route in enumerate(reversed(_default_routes()), 1)}
    found = [address for address in rtnetlink.addresses() if address.index in links and address.usable]
    found.sort(key=lambda address: (-first.get(address.index, 0), address.index))
    return [(links[address.index], address) for address in found]


def _default_routes() -> list[rtnetlink.Route]:
    return [route for family in (AF_INET, AF_INET6) for route in rtnetlink.routes(family) if not route.prefix_length]


def _listening() -> list[tuple[bytes, int]]:
    return [*_listening_in("/proc/net/tcp"), *_listening_in("/proc/net/tcp6")]


def _listening_in(path: str) -> Iterator[tuple[bytes, int]]:
    try:
        file = open(path, "rb")
    except OSError:
        # A kernel without IPv6.
        return
    with file:
        file.readline()
        for line in file:
            _, local, _, state = line.split(None, 4)[:4]
            if state != _LISTENING:
                return
            address, _, port = local.partition(b":")
            # Numbers of 32 bits, in the byte order of this machine.
            words = (int(address[start : start + 8], 16) for start in range(0, len(address), 8))
            yield b"".join(word.to_bytes(4, sys.byteorder) for word in words), int(port, 16)
