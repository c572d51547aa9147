"""The files of the network managers: what they say of an interface, in the form of each manager."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from phoenix_ga.agent.operations.network import parse_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.operations.network_files.settings import Settings, StaticRoute

_HEAD: Final = "# Written by phoenix-ga, which replaces this file.\n"
# Above that of any other profile.
PRIORITY: Final = 999
_DHCP: Final = {(False, False): "no", (True, False): "ipv4", (False, True): "ipv6", (True, True): "yes"}


def networkd(settings: Settings) -> str:
    """Return a file for systemd-networkd, see systemd.network(5)."""
    lines = ["[Match]", f"Name={settings.name}", ""]
    if settings.mtu:
        lines += ["[Link]", f"MTUBytes={settings.mtu}", ""]
    lines += ["[Network]", f"DHCP={_DHCP[settings.dhcp4, settings.dhcp6]}"]
    lines += [f"Address={address}" for address in settings.addresses]
    lines += [f"DNS={server}" for server in settings.nameservers]
    if settings.search:
        lines.append(f"Domains={' '.join(settings.search)}")
    for route in settings.routes:
        lines += ["", "[Route]", f"Destination={route.destination}"]
        if route.gateway:
            lines.append(f"Gateway={route.gateway}")
            if not is_reachable(route, settings):
                lines.append("GatewayOnLink=yes")
        if route.metric:
            lines.append(f"Metric={route.metric}")
    return _HEAD + "\n".join(lines) + "\n"


def network_manager(settings: Settings) -> str:
    """Return a profile for NetworkManager, see nm-settings-keyfile(5)."""
    from uuid import NAMESPACE_DNS, uuid5

    lines = [
        "[connection]",
        f"id=phoenix-ga {settings.name}",
        f"uuid={uuid5(NAMESPACE_DNS, f'{settings.name}.phoenix-ga.invalid')}",
        "type=ethernet",
        f"interface-name={settings.name}",
        f"autoconnect-priority={PRIORITY}",
        "",
        "[ethernet]",
    ]
    if settings.mtu:
        lines.append(f"mtu={settings.mtu}")
    for family, section, without in ((AF_INET, "ipv4", "disabled"), (AF_INET6, "ipv6", "auto")):
        addresses = settings.addresses_of(family)
        dynamic = settings.dhcp4 if family == AF_INET else settings.dhcp6
        method = "auto" if dynamic else "manual" if addresses else without
        lines += ["", f"[{section}]", f"method={method}"]
        lines += [f"address{number}={address}" for number, address in enumerate(addresses, 1)]
        for number, route in enumerate(settings.routes_of(family), 1):
            none = "0.0.0.0" if family == AF_INET else "::"
            words = [route.destination, route.gateway or none, *([str(route.metric)] if route.metric else [])]
            lines.append(f"route{number}={','.join(words)}")
        servers = settings.nameservers_of(family)
        if servers and method != "disabled":
            lines.append("dns=" + "".join(f"{server};" for server in servers))
            if settings.search:
                lines.append("dns-search=" + "".join(f"{domain};" for domain in settings.search))
    return _HEAD + "\n".join(lines) + "\n"


def netplan(settings: Settings) -> str:
    """Return a file for netplan, see netplan(5)."""
    lines = [
        "network:",
        "  version: 2",
        "  ethernets:",
        f'    "{settings.name}":',
        f"      dhcp4: {'true' if settings.dhcp4 else 'false'}",
        f"      dhcp6: {'true' if settings.dhcp6 else 'false'}",
    ]
    if settings.mtu:
        lines.append(f"      mtu: {settings.mtu}")
    if settings.addresses:
        lines += ["      addresses:", *(f'        - "{address}"' for address in settings.addresses)]
    if settings.nameservers:
        lines += ["      nameservers:", f"        addresses: {_quoted(settings.nameservers)}"]
        if settings.search:
            lines.append(f"        search: {_quoted(settings.search)}")
    if settings.routes:
        lines.append("      routes:")
    for route in settings.routes:
        lines.append(f'        - to: "{route.destination}"')
        if route.gateway:
            lines.append(f'          via: "{route.gateway}"')
            if not is_reachable(route, settings):
                lines.append("          on-link: true")
        else:
            lines.append("          scope: link")
        if route.metric:
            lines.append(f"          metric: {route.metric}")
    return _HEAD + "\n".join(lines) + "\n"


def ifupdown(settings: Settings) -> str:
    """Return a file for ifupdown, see interfaces(5)."""
    name = settings.name
    lines = [f"auto {name}"]
    for family, keyword in ((AF_INET, "inet"), (AF_INET6, "inet6")):
        dynamic = settings.dhcp4 if family == AF_INET else settings.dhcp6
        routes = [_up(route, name) for route in settings.routes_of(family)]
        options = [f"dns-nameservers {' '.join(servers)}"] if (servers := settings.nameservers_of(family)) else []
        if servers and settings.search:
            options.append(f"dns-search {' '.join(settings.search)}")
        stanzas = [[f"iface {name} {keyword} dhcp"]] if dynamic else []
        stanzas += [
            [f"iface {name} {keyword} static", f"address {address}"] for address in settings.addresses_of(family)
        ]
        if not stanzas and (routes or family == AF_INET):
            stanzas = [[f"iface {name} {keyword} manual", f"up ip link set dev {name} up"]]
        if stanzas and settings.mtu and family == AF_INET:
            stanzas[0].append(f"pre-up ip link set dev {name} mtu {settings.mtu}")
        if stanzas:
            stanzas[-1] += options + routes
        for stanza in stanzas:
            lines += ["", stanza[0], *(f"    {option}" for option in stanza[1:])]
    return _HEAD + "\n".join(lines) + "\n"


def _up(route: StaticRoute, name: str) -> str:
    words = ["up ip -6 route replace" if route.family == AF_INET6 else "up ip route replace", route.destination]
    if route.gateway:
        words += ["via", route.gateway]
    words += ["dev", name]
    if route.metric:
        words += ["metric", str(route.metric)]
    if route.gateway:
        words.append("onlink")
    return " ".join(words)


def is_reachable(route: StaticRoute, settings: Settings) -> bool:
    """Return whether the gateway is in a network of the interface, or may be in one that DHCP brings."""
    family, gateway, _ = parse_prefix(route.gateway)
    if family == AF_INET6 and gateway[:1] == b"\xfe":
        return True
    if settings.dhcp4 if family == AF_INET else settings.dhcp6:
        return True
    for address in settings.addresses_of(family):
        _, raw, length = parse_prefix(address)
        shift = len(raw) * 8 - length
        if int.from_bytes(raw, "big") >> shift == int.from_bytes(gateway, "big") >> shift:
            return True
    return False


def _quoted(texts: list[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"
