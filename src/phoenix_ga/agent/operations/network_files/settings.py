"""What is to stay of an interface, whatever manages it."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from errno import ENODEV, ENOTSUP

from phoenix_ga.agent.linux import rtnetlink
from phoenix_ga.agent.operations.network import address_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ARPHRD_ETHER: Final = 1
# Interfaces of other kinds are made by what configures them.
_KINDS: Final = ("", "dummy", "ipvlan", "macvlan", "veth")
# Routes that somebody has added, not those that the kernel, DHCP or router advertisements bring.
_PROTOCOLS: Final = (rtnetlink.RTPROT_BOOT, rtnetlink.RTPROT_STATIC)
_HOST_PREFIX: Final = 128


class StaticRoute:
    """A route: destination with its prefix length, `0.0.0.0/0` or `::/0` for a default route. metric: 0 for none."""

    __slots__ = ("destination", "gateway", "metric")

    def __init__(self, destination: str, gateway: str = "", metric: int = 0) -> None:
        self.destination = destination
        self.gateway = gateway
        self.metric = metric

    @property
    def family(self) -> int:
        return family_of(self.destination)

    @property
    def is_default(self) -> bool:
        return self.destination in ("0.0.0.0/0", "::/0")


class Settings:
    """The configuration of an Ethernet interface.

    addresses: with their prefix lengths. dhcp4, dhcp6: get others by DHCP. nameservers, search: of the DNS. mtu: 0
    for the interface's own. hardware_address: empty if unknown.
    """

    __slots__ = ("addresses", "dhcp4", "dhcp6", "hardware_address", "mtu", "name", "nameservers", "routes", "search")

    def __init__(self, name: str, hardware_address: str = "") -> None:
        self.name = name
        self.hardware_address = hardware_address
        self.dhcp4 = False
        self.dhcp6 = False
        self.addresses: list[str] = []
        self.routes: list[StaticRoute] = []
        self.nameservers: list[str] = []
        self.search: list[str] = []
        self.mtu = 0

    def addresses_of(self, family: int) -> list[str]:
        return [address for address in self.addresses if family_of(address) == family]

    def routes_of(self, family: int) -> list[StaticRoute]:
        return [route for route in self.routes if route.family == family]

    def nameservers_of(self, family: int) -> list[str]:
        return [server for server in self.nameservers if family_of(server) == family]


def family_of(address: str) -> int:
    """Return AF_INET or AF_INET6."""
    return AF_INET6 if ":" in address else AF_INET


def active_settings(name: str, root: str = "") -> Settings:
    """Return what is active on an interface and would be lost by a reboot, and whether it uses DHCP.

    Args:
        root: A prefix of the paths that tell the name servers.

    Raises:
        OSError: ENODEV if there is no such interface; ENOTSUP if it is of a kind that only its manager can make.
    """
    link = next((link for link in rtnetlink.links() if link.name == name), None)
    if link is None:
        raise OSError(ENODEV, f"interface {name[:100]!r}: there is no such interface")
    _check_kind(link)
    settings = Settings(name, link.hardware_address.hex(":"))
    dynamic = set()
    for address in rtnetlink.addresses():
        if address.index != link.index or address.scope in (rtnetlink.RT_SCOPE_LINK, rtnetlink.RT_SCOPE_HOST):
            continue
        if address.permanent:
            settings.addresses.append(f"{address_text(address.local)}/{address.prefix_length}")
            continue
        dynamic.add(address.family)
        if address.family == AF_INET:
            settings.dhcp4 = True
        elif address.prefix_length == _HOST_PREFIX:
            settings.dhcp6 = True
    for family in (AF_INET, AF_INET6):
        for route in rtnetlink.routes(family):
            # A program of DHCP may have added the default route as if by hand.
            is_dynamic = not route.prefix_length and family in dynamic
            if route.index == link.index and route.protocol in _PROTOCOLS and not is_dynamic:
                settings.routes.append(_static(route))
    if not dynamic:
        settings.nameservers, settings.search = _name_servers(link.index, settings, root)
    return settings


def _check_kind(link: rtnetlink.Link) -> None:
    why = ""
    if link.kind not in _KINDS:
        why = f"it is a {link.kind}"
    elif link.master:
        why = "it is a port of another interface"
    elif link.hardware_type != _ARPHRD_ETHER:
        why = "it is no Ethernet interface"
    elif not link.flags & rtnetlink.IFF_UP:
        why = "it is down"
    if why:
        hint = "set it up first" if why == "it is down" else "configure it with the guest's own tools, or cloud-init"
        raise OSError(ENOTSUP, f"interface {link.name!r}: {why}; {hint}")


def _static(route: rtnetlink.Route) -> StaticRoute:
    width = 4 if route.family == AF_INET else 16
    destination = f"{address_text(route.destination or bytes(width))}/{route.prefix_length}"
    # 1024 is what IPv6 has if none is given.
    metric = 0 if route.family == AF_INET6 and route.metric == rtnetlink.IP6_RT_PRIO_USER else route.metric
    return StaticRoute(destination, address_text(route.gateway), metric)


def _name_servers(index: int, settings: Settings, root: str) -> tuple[list[str], list[str]]:
    """Return the name servers and search domains: those of the interface, or else of the guest."""
    for path in (f"/run/systemd/resolve/netif/{index}", f"/run/systemd/netif/links/{index}"):
        values = dict(line.partition("=")[::2] for line in read_lines(root + path))
        servers = values.get("SERVERS", values.get("DNS", "")).split()
        if servers:
            # A server may have a port and a name: 192.0.2.53:5353#dns.example.org.
            return [server.partition("#")[0] for server in servers], values.get("DOMAINS", "").split()
    servers, search = [], []
    if any(route.is_default for route in settings.routes):
        for line in read_lines(f"{root}/etc/resolv.conf"):
            words = line.split()
            if words[:1] == ["nameserver"] and words[1:] and not words[1].startswith(("127.", "::1")):
                servers.append(words[1])
            elif words[:1] in (["search"], ["domain"]):
                search = words[1:]
    return servers, search if servers else []


def read_lines(path: str) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
