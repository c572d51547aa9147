"""The network configuration: interfaces, their addresses, and the main routing table.

Every function raises OSError with the kernel's errno and a text that names the object; EINVAL if a text is not an
address, and ENODEV if an interface does not exist.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, if_indextoname, if_nametoindex, inet_ntop, inet_pton
from errno import EADDRNOTAVAIL, EINVAL, ENODEV, ESRCH

from phoenix_ga.agent.linux import rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# linux/if_arp.h: IPv4 or IPv6 tunnels, whose hardware address is the tunnel's own IP address.
ARPHRD_TUNNEL: Final = 768
ARPHRD_TUNNEL6: Final = 769
ARPHRD_SIT: Final = 776
ARPHRD_IPGRE: Final = 778
ARPHRD_IP6GRE: Final = 823
_TUNNELS: Final = (ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_SIT, ARPHRD_IPGRE, ARPHRD_IP6GRE)

_FLAGS: Final = (
    (rtnetlink.IFF_UP, "up"),
    (rtnetlink.IFF_BROADCAST, "broadcast"),
    (rtnetlink.IFF_LOOPBACK, "loopback"),
    (rtnetlink.IFF_POINTOPOINT, "pointtopoint"),
    (rtnetlink.IFF_MULTICAST, "multicast"),
)

_IPV4_LOOPBACK: Final = 127
# A network of one or two addresses has no broadcast address (RFC 3021).
_IPV4_BROADCAST_PREFIX_MAX: Final = 30
_PREFIX_DIGITS_MAX: Final = 3
_SHOWN_MAX: Final = 100


class Address:
    """An address of an interface: `ip`, as text, and the length of its prefix.

    label: such as `eth0:1`; usually the name of the interface.
    """

    __slots__ = ("ip", "label", "prefix_length")

    def __init__(self, ip: str, prefix_length: int, label: str) -> None:
        self.ip = ip
        self.prefix_length = prefix_length
        self.label = label


class Interface:
    """A network interface.

    hardware_address: such as `52:54:00:12:34:56`, empty if it has none. flags: words out of
    `up`, `broadcast`, `loopback`, `pointtopoint`, `multicast`. kind: such as `bridge`; empty if it is hardware.
    container: it serves containers of the guest, as `container_links` decides.
    """

    __slots__ = ("addresses", "container", "flags", "hardware_address", "index", "kind", "name")

    def __init__(
        self, index: int, name: str, hardware_address: str, flags: list[str], kind: str = "", container: bool = False
    ) -> None:
        self.index = index
        self.name = name
        self.hardware_address = hardware_address
        self.flags = flags
        self.kind = kind
        self.container = container
        self.addresses: list[Address] = []


class Route:
    """A route of the main table to one next hop.

    interface: its name, empty if the route has none. destination: address of the network, whose
    prefix length is 0 in a default route. source: the address preferred to send from. Texts are
    empty if not set. scope: RT_SCOPE_... of rtnetlink(7). metric: less is preferred.
    """

    __slots__ = ("destination", "family", "gateway", "interface", "metric", "prefix_length", "scope", "source")

    def __init__(
        self,
        family: int,
        destination: str,
        prefix_length: int,
        *,
        interface: str,
        gateway: str,
        source: str,
        scope: int,
        metric: int,
    ) -> None:
        self.family = family
        self.destination = destination
        self.prefix_length = prefix_length
        self.interface = interface
        self.gateway = gateway
        self.source = source
        self.scope = scope
        self.metric = metric


def interfaces() -> list[Interface]:
    """Return all interfaces by index, each with its addresses, IPv4 first, in the kernel's order.

    The address of a point-to-point link is the local one.
    """
    links = rtnetlink.links()
    containers = container_links(links)
    found = {
        link.index: Interface(
            link.index,
            link.name,
            hardware_address(link),
            flag_words(link),
            link.kind,
            link.index in containers,
        )
        for link in links
    }
    for address in rtnetlink.addresses():
        # The interface may be newer than the list of links.
        if address.index in found:
            interface = found[address.index]
            text = address_text(address.local)
            interface.addresses.append(Address(text, address.prefix_length, address.label or interface.name))
    return [found[index] for index in sorted(found)]


def container_links(links: list[rtnetlink.Link]) -> set[int]:
    """Return the indexes of links that serve containers or virtual machines of the guest.

    These are veth links, tap links that are ports, and bridges all of whose ports are such links.
    """
    virtual = {link.index for link in links if link.kind == "veth" or (link.kind == "tun" and link.master)}
    bridged = {link.master for link in links if link.index not in virtual}
    return virtual | {link.index for link in links if link.kind == "bridge" and link.index not in bridged}


def flag_words(link: rtnetlink.Link) -> list[str]:
    """Return the flags of a link, as words."""
    return [word for bit, word in _FLAGS if link.flags & bit]


def add_address(ip: str, interface: str) -> None:
    """Add an address with its prefix length, such as `192.0.2.10/24`, as `ip address add` does.

    An IPv4 address gets the broadcast address of its network, if there is one. Raises EEXIST if the interface has the
    address.
    """
    try:
        address = _interface_address(ip, interface)
        broadcast = b""
        scope = rtnetlink.RT_SCOPE_UNIVERSE
        if address.family == AF_INET:
            if address.prefix_length <= _IPV4_BROADCAST_PREFIX_MAX:
                broadcast = _broadcast_address(address.local, address.prefix_length)
            if address.local[0] == _IPV4_LOOPBACK:
                scope = rtnetlink.RT_SCOPE_HOST
        rtnetlink.new_address(address, broadcast=broadcast, scope=scope)
    except OSError as error:
        raise _explained(error, f"address {_shown(ip)} of {_shown(interface)}") from None


def remove_address(ip: str, interface: str) -> None:
    """Remove an address as `interfaces` lists it. Raises EADDRNOTAVAIL if there is no such address."""
    try:
        address = _interface_address(ip, interface)
        try:
            rtnetlink.delete_address(address)
        except OSError as error:
            if error.errno != EADDRNOTAVAIL:
                raise
            # An IPv4 point-to-point address is only known together with its peer.
            peer = _peer(address)
            if not peer:
                raise
            address.peer = peer
            rtnetlink.delete_address(address)
    except OSError as error:
        raise _explained(error, f"address {_shown(ip)} of {_shown(interface)}") from None


def set_interface_up(interface: str) -> None:
    """Set an interface up."""
    _set_interface(interface, True)


def set_interface_down(interface: str) -> None:
    """Set an interface down."""
    _set_interface(interface, False)


def _set_interface(interface: str, up: bool) -> None:
    try:
        rtnetlink.set_link_up(_interface_index(interface), up)
    except OSError as error:
        raise _explained(error, f"interface {_shown(interface)}") from None


def routes(family: int) -> list[Route]:
    """Return the routes of the main table that `ip route show` and `ip -6 route show` show.

    family: AF_INET, AF_INET6, or 0 for IPv4 and then IPv6. A route over several next hops is there
    once for each.
    """
    names: dict[int, str] = {0: ""}
    found = []
    for each in (family,) if family else (AF_INET, AF_INET6):
        width = _width(each)
        for route in rtnetlink.routes(each):
            if route.index not in names:
                names[route.index] = interface_name(route.index)
            found.append(
                Route(
                    each,
                    address_text(route.destination or bytes(width // 8)),
                    route.prefix_length,
                    interface=names[route.index],
                    gateway=address_text(route.gateway),
                    source=address_text(route.source),
                    scope=route.scope,
                    metric=route.metric,
                )
            )
    return found


def add_route(interface: str, destination: str, *, source: str = "", gateway: str = "", scope: int = 0) -> None:
    """Add a route to the main table.

    destination: prefix, address, or `default`, which is of the family of the gateway or the source,
    else IPv4. source, gateway: empty for none. scope: taken as it is, RT_SCOPE_... of rtnetlink(7);
    IPv6 has none. Raises EEXIST if there is such a route, ENETUNREACH if the gateway is not on
    a link.
    """
    add_route_with_metric(interface, destination, source=source, gateway=gateway, scope=scope)


def add_route_with_metric(
    interface: str, destination: str, *, source: str = "", gateway: str = "", scope: int = 0, metric: int = 0
) -> None:
    """Do the same. metric: less is preferred; 0 for that of the kernel."""
    try:
        route = _route(interface, destination, source, gateway, scope)
        route.metric = metric
        rtnetlink.new_route(route)
    except OSError as error:
        raise _explained(error, f"route {_shown(destination)}") from None


def delete_route(interface: str, destination: str, *, source: str = "", gateway: str = "", scope: int = 0) -> None:
    """Delete a route of the main table that has all that is given, the scope included.

    Arguments as `add_route`. Raises ESRCH if there is no such route.
    """
    try:
        rtnetlink.delete_route(_route(interface, destination, source, gateway, scope))
    except OSError as error:
        if error.errno == ESRCH:
            # The kernel's own words are about processes.
            error = OSError(ESRCH, "there is no such route")
        raise _explained(error, f"route {_shown(destination)}") from None


def parse_address(text: str) -> tuple[int, bytes]:
    """Return family and raw address. Raises EINVAL if `text` is not an IPv4 or IPv6 address."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        return family, inet_pton(family, text)
    # ValueError: NUL, or a lone surrogate.
    except (OSError, ValueError):
        raise OSError(EINVAL, f"{_shown(text)} is no IPv4 or IPv6 address") from None


def parse_prefix(text: str) -> tuple[int, bytes, int]:
    """Return family, raw address and prefix length of `ADDRESS/LENGTH`; the address is kept whole.

    Without a length it is that of the whole address. Raises EINVAL if `text` is malformed.
    """
    address, slash, length = text.partition("/")
    family, raw = parse_address(address)
    width = _width(family)
    if not slash:
        return family, raw, width
    # int() also accepts signs, spaces and digits of other scripts.
    if not (length.isascii() and length.isdigit() and len(length) <= _PREFIX_DIGITS_MAX) or int(length) > width:
        raise OSError(EINVAL, f"{_shown(length)} is no prefix length from 0 to {width}")
    return family, raw, int(length)


def network_mask(family: int, prefix_length: int) -> str:
    """Return the network mask as an address: `255.255.255.0`, `ffff:ffff::`."""
    return address_text(_mask(_width(family), prefix_length).to_bytes(_width(family) // 8, "big"))


def _interface_address(ip: str, interface: str) -> rtnetlink.Address:
    if "/" not in ip:
        raise OSError(EINVAL, "the prefix length is missing")
    family, raw, prefix_length = parse_prefix(ip)
    return rtnetlink.Address(_interface_index(interface), family, raw, raw, prefix_length)


def _peer(address: rtnetlink.Address) -> bytes:
    """Return the peer of the interface's address that is otherwise the same, empty for none."""
    for other in rtnetlink.addresses():
        if (other.index, other.local, other.prefix_length) == (address.index, address.local, address.prefix_length):
            return other.peer
    return b""


def _route(interface: str, destination: str, source: str, gateway: str, scope: int) -> rtnetlink.Route:
    if not destination:
        raise OSError(EINVAL, "the destination is empty; say 'default' for the default route")
    family = AF_INET
    raw = b""
    prefix_length = 0
    if destination != "default":
        family, raw, prefix_length = parse_prefix(destination)
    elif gateway or source:
        family = parse_address(gateway or source)[0]
    route = rtnetlink.Route(family, raw, prefix_length, index=_interface_index(interface), scope=scope)
    if source:
        route.source = _address_of_family(source, family, "source")
    if gateway:
        route.gateway = _address_of_family(gateway, family, "gateway")
    return route


def _address_of_family(text: str, family: int, what: str) -> bytes:
    its_family, raw = parse_address(text)
    if its_family != family:
        raise OSError(EINVAL, f"the {what} {text} is not {'IPv4' if family == AF_INET else 'IPv6'}, unlike the rest")
    return raw


def _interface_index(name: str) -> int:
    try:
        return if_nametoindex(name)
    # Its OSError has no errno; ValueError: NUL, or a lone surrogate.
    except (OSError, ValueError):
        raise OSError(ENODEV, "there is no such interface") from None


def interface_name(index: int) -> str:
    """Return the name of an interface; empty if there is none any more."""
    try:
        return if_indextoname(index)
    except OSError:
        # The interface was removed, and its routes with it.
        return ""


def hardware_address(link: rtnetlink.Link) -> str:
    """Return the hardware address of a link; empty if there is none."""
    # That of the loopback interface is zero.
    if link.hardware_type in _TUNNELS or not any(link.hardware_address):
        return ""
    return link.hardware_address.hex(":")


def address_text(raw: bytes) -> str:
    """Return an address as text, and the empty text for none."""
    if len(raw) == 4:
        return inet_ntop(AF_INET, raw)
    return inet_ntop(AF_INET6, raw) if len(raw) == 16 else ""


def _broadcast_address(raw: bytes, prefix_length: int) -> bytes:
    host_bits = ~_mask(32, prefix_length) & 0xFFFFFFFF
    return (int.from_bytes(raw, "big") | host_bits).to_bytes(4, "big")


def _mask(width: int, prefix_length: int) -> int:
    return (1 << width) - (1 << (width - prefix_length))


def _width(family: int) -> int:
    return 32 if family == AF_INET else 128


def _shown(text: str) -> str:
    """Return the beginning of a client's text, for an error message."""
    return repr(text[:_SHOWN_MAX])


def _explained(error: OSError, about: str) -> OSError:
    return OSError(error.errno, f"{about}: {error.strerror}")
