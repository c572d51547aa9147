"""Links, addresses and routes of the kernel, in its own terms: indexes, numbers and raw addresses.

See rtnetlink(7), linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h, whose names the
constants have. Every function raises OSError with the kernel's errno and words.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6
from errno import ENOENT
from struct import Struct

from phoenix_ga.agent.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    attributes,
    change,
    dump,
    malformed,
    unpack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26

IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MASTER: Final = 10
IFLA_LINKINFO: Final = 18
IFLA_INFO_KIND: Final = 1
IFLA_EXT_MASK: Final = 29
RTEXT_FILTER_SKIP_STATS: Final = 8

IFF_UP: Final = 0x1
IFF_BROADCAST: Final = 0x2
IFF_LOOPBACK: Final = 0x8
IFF_POINTOPOINT: Final = 0x10
IFF_MULTICAST: Final = 0x1000
IFF_LOWER_UP: Final = 0x10000

IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_LABEL: Final = 3
IFA_BROADCAST: Final = 4
IFA_FLAGS: Final = 8
# The address cannot be used: another machine has it, or that is still being found out.
IFA_F_DADFAILED: Final = 0x08
IFA_F_TENTATIVE: Final = 0x40
# It has no lifetime: neither DHCP nor a router has given it.
IFA_F_PERMANENT: Final = 0x80

RTA_DST: Final = 1
RTA_OIF: Final = 4
RTA_GATEWAY: Final = 5
RTA_PRIORITY: Final = 6
RTA_PREFSRC: Final = 7
RTA_MULTIPATH: Final = 9
RTA_TABLE: Final = 15
RTA_VIA: Final = 18

RT_TABLE_MAIN: Final = 254
RTPROT_UNSPEC: Final = 0
RTPROT_BOOT: Final = 3
RTPROT_STATIC: Final = 4
# linux/ipv6_route.h: the metric of an IPv6 route for which none is given.
IP6_RT_PRIO_USER: Final = 1024
RTN_UNSPEC: Final = 0
RTN_UNICAST: Final = 1
RTN_LOCAL: Final = 2
RT_SCOPE_UNIVERSE: Final = 0
RT_SCOPE_LINK: Final = 253
RT_SCOPE_HOST: Final = 254
RTM_F_CLONED: Final = 0x200

_ifinfomsg: Final = Struct("=BxHiII")
_ifaddrmsg: Final = Struct("=BBBBI")
_rtmsg: Final = Struct("=BBBBBBBBI")
_rtnexthop: Final = Struct("=HBBi")
_uint: Final = Struct("=I")
_RTVIA_HEADER_SIZE: Final = 2


class Link:
    """A network interface.

    flags: IFF_... bits. hardware_type: ARPHRD_... of linux/if_arp.h. hardware_address: raw, empty
    if it has none. kind: such as `bridge` or `veth`; empty if it is hardware or the loopback link. master: index of
    the link that it is a port of; 0 if there is none.
    """

    __slots__ = ("flags", "hardware_address", "hardware_type", "index", "kind", "master", "name")

    def __init__(
        self,
        index: int,
        name: str,
        flags: int,
        hardware_type: int,
        hardware_address: bytes,
        kind: str = "",
        master: int = 0,
    ) -> None:
        self.index = index
        self.name = name
        self.flags = flags
        self.hardware_type = hardware_type
        self.hardware_address = hardware_address
        self.kind = kind
        self.master = master


class Address:
    """An address of the interface with this index.

    local: the address itself, raw. peer: the other end's of a point-to-point address, else as
    `local`; the prefix length is that of `peer`. label: of an IPv4 address, mostly the name of the
    interface; empty if there is none, and not used to make an address. scope: RT_SCOPE_.... usable: it is no
    duplicate of another machine's address. permanent: it has no lifetime, as those of DHCP have.
    """

    __slots__ = ("family", "index", "label", "local", "peer", "permanent", "prefix_length", "scope", "usable")

    def __init__(
        self,
        index: int,
        family: int,
        local: bytes,
        peer: bytes,
        prefix_length: int,
        label: str = "",
        scope: int = RT_SCOPE_UNIVERSE,
        usable: bool = True,
        permanent: bool = True,
    ) -> None:
        self.index = index
        self.family = family
        self.label = label
        self.local = local
        self.peer = peer
        self.prefix_length = prefix_length
        self.scope = scope
        self.usable = usable
        self.permanent = permanent


class Route:
    """A route to one next hop; one of several hops has an object for each.

    Raw addresses are empty if there is none. index: of the interface, 0 if there is none.
    gateway: may be IPv6 for an IPv4 destination, in a route `via inet6`. protocol: RTPROT_..., what has added it.
    """

    __slots__ = (
        "destination",
        "family",
        "gateway",
        "index",
        "metric",
        "prefix_length",
        "protocol",
        "scope",
        "source",
    )

    def __init__(
        self,
        family: int,
        destination: bytes,
        prefix_length: int,
        *,
        index: int,
        gateway: bytes = b"",
        source: bytes = b"",
        scope: int = RT_SCOPE_UNIVERSE,
        metric: int = 0,
        protocol: int = RTPROT_UNSPEC,
    ) -> None:
        self.family = family
        self.destination = destination
        self.prefix_length = prefix_length
        self.index = index
        self.gateway = gateway
        self.source = source
        self.scope = scope
        self.metric = metric
        self.protocol = protocol


def links() -> list[Link]:
    """Return all links."""
    without_counters = attribute(IFLA_EXT_MASK, _uint.pack(RTEXT_FILTER_SKIP_STATS))
    return [
        parse_link(payload) for payload in dump(RTM_GETLINK, RTM_NEWLINK, bytes(_ifinfomsg.size) + without_counters)
    ]


def parse_link(payload: bytes) -> Link:
    """Return the link of a message RTM_NEWLINK or RTM_DELLINK."""
    _, hardware_type, index, flags, _ = unpack(_ifinfomsg, payload)
    values = attributes(payload, _ifinfomsg.size)
    kind = attributes(values.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    return Link(
        index,
        _text(values.get(IFLA_IFNAME, b"")),
        flags,
        hardware_type,
        values.get(IFLA_ADDRESS, b""),
        _text(kind),
        _number(values.get(IFLA_MASTER)),
    )


def addresses() -> list[Address]:
    """Return all IPv4 addresses, then all IPv6 addresses, in the kernel's order."""
    parsed = map(parse_address, dump(RTM_GETADDR, RTM_NEWADDR, bytes(_ifaddrmsg.size)))
    return [address for address in parsed if address.family in (AF_INET, AF_INET6)]


def parse_address(payload: bytes) -> Address:
    """Return the address of a message RTM_NEWADDR or RTM_DELADDR."""
    family, prefix_length, flags, scope, index = unpack(_ifaddrmsg, payload)
    values = attributes(payload, _ifaddrmsg.size)
    peer = values.get(IFA_ADDRESS, b"")
    # IPv6 has IFA_LOCAL only in a point-to-point address.
    local = values.get(IFA_LOCAL, peer)
    flags |= _number(values.get(IFA_FLAGS))
    usable = not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
    label = _text(values.get(IFA_LABEL, b""))
    permanent = bool(flags & IFA_F_PERMANENT)
    return Address(index, family, local, peer or local, prefix_length, label, scope, usable, permanent)


def routes(family: int) -> list[Route]:
    """Return the routes of the main table: those that `ip route show` of the family shows.

    family: AF_INET or AF_INET6.
    """
    try:
        payloads = dump(RTM_GETROUTE, RTM_NEWROUTE, _rtmsg.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0))
    except OSError as error:
        # The kernel makes the main table with its first route.
        if error.errno != ENOENT:
            raise
        return []
    return [route for payload in payloads for route in parse_routes(payload) if route.family == family]


def parse_routes(payload: bytes) -> list[Route]:
    """Return the next hops of a message RTM_NEWROUTE or RTM_DELROUTE; none if it is not of the main table."""
    family, prefix_length, _, _, table, protocol, scope, kind, flags = unpack(_rtmsg, payload)
    values = attributes(payload, _rtmsg.size)
    if RTA_TABLE in values:
        table = unpack(_uint, values[RTA_TABLE])[0]
    # A kernel without IPv6 answers for other families, and an old one for other tables; where
    # IPv6 has but one table, the addresses of this machine are in it.
    if (
        family not in (AF_INET, AF_INET6)
        or table != RT_TABLE_MAIN
        or flags & RTM_F_CLONED
        or (family == AF_INET6 and kind == RTN_LOCAL)
    ):
        return []
    return [
        Route(
            family,
            values.get(RTA_DST, b""),
            prefix_length,
            index=index,
            gateway=gateway,
            source=values.get(RTA_PREFSRC, b""),
            scope=scope,
            metric=_number(values.get(RTA_PRIORITY)),
            protocol=protocol,
        )
        for index, gateway in _hops(values)
    ]


def set_link_up(index: int, up: bool) -> None:
    """Set a link up or down."""
    change(RTM_NEWLINK, 0, _ifinfomsg.pack(0, 0, index, IFF_UP if up else 0, IFF_UP))


def new_address(address: Address, *, broadcast: bytes, scope: int) -> None:
    """Add an address. broadcast: empty for none. scope: RT_SCOPE_..., for IPv4."""
    change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address_message(address, broadcast=broadcast, scope=scope))


def delete_address(address: Address) -> None:
    """Remove the address that agrees in all members."""
    change(RTM_DELADDR, 0, _address_message(address))


def new_route(route: Route) -> None:
    """Add a unicast route to the main table."""
    change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, _route_message(route, RTPROT_BOOT, RTN_UNICAST))


def delete_route(route: Route) -> None:
    """Delete the first route of the main table that has all members of `route` which are not empty."""
    change(RTM_DELROUTE, 0, _route_message(route, RTPROT_UNSPEC, RTN_UNSPEC))


def _address_message(address: Address, *, broadcast: bytes = b"", scope: int = RT_SCOPE_UNIVERSE) -> bytes:
    message = _ifaddrmsg.pack(address.family, address.prefix_length, 0, scope, address.index)
    message += attribute(IFA_LOCAL, address.local) + attribute(IFA_ADDRESS, address.peer)
    if broadcast:
        message += attribute(IFA_BROADCAST, broadcast)
    return message


def _route_message(route: Route, protocol: int, kind: int) -> bytes:
    message = _rtmsg.pack(
        route.family, route.prefix_length, 0, 0, RT_TABLE_MAIN, protocol, route.scope, kind, 0
    ) + attribute(RTA_OIF, _uint.pack(route.index))
    for number, value in ((RTA_DST, route.destination), (RTA_PREFSRC, route.source), (RTA_GATEWAY, route.gateway)):
        if value:
            message += attribute(number, value)
    if route.metric:
        message += attribute(RTA_PRIORITY, _uint.pack(route.metric))
    return message


def _hops(values: dict[int, bytes]) -> list[tuple[int, bytes]]:
    """Return index and gateway of each next hop of a route."""
    several = values.get(RTA_MULTIPATH)
    if several is None:
        return [(_number(values.get(RTA_OIF)), _gateway(values))]
    found = []
    while several:
        length, _, _, index = unpack(_rtnexthop, several)
        if not _rtnexthop.size <= length <= len(several):
            malformed("a next hop")
        found.append((index, _gateway(attributes(several[:length], _rtnexthop.size))))
        several = several[(length + 3) & ~3 :]
    return found


def _gateway(values: dict[int, bytes]) -> bytes:
    return values.get(RTA_GATEWAY) or values.get(RTA_VIA, b"")[_RTVIA_HEADER_SIZE:]


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def _number(value: bytes | None) -> int:
    return 0 if value is None else unpack(_uint, value)[0]
