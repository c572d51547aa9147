"""The verb `ip`: the network of the guest, in the words and tables of iproute2."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from errno import ENETUNREACH, ENODEV, ESRCH
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli import ip_syntax
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.ip_syntax import ADD, ADDRESS, LINK, ROUTE, SHOW, IpRequest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.wire.commands import AF_INET, AF_INET6, AF_UNSPEC

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, NetworkInterface, Route

_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
_FLAGS = {"pointtopoint": "POINTOPOINT"}
_ETHERNET_LENGTH = 17
_SCOPES = {number: name for name, number in ip_syntax.SCOPES.items() if name != "universe"}


@click.command(
    short_help="Show and change the network of the guest.",
    options_metavar="[-4|-6]",
    epilog="""\b
OBJECT and COMMAND are those of ip(8), or what they begin with; without COMMAND it is show:
  address [show [INTERFACE] [up]]
  address add|delete ADDRESS/LENGTH dev INTERFACE
  link [show [INTERFACE] [up]]
  link set INTERFACE up|down
  route [show [DESTINATION] [dev INTERFACE]]
  route add|delete DESTINATION [via ADDRESS] [dev INTERFACE] [src ADDRESS] [scope SCOPE]

Routes are those of the main table, of IPv4 unless -6 is there. Changes last until the guest is
booted again.

\b
Examples:
  $ phoenixctl ip unix:/run/web1.sock addr
  $ phoenixctl ip unix:/run/web1.sock link set eth0 up
  $ phoenixctl ip unix:/run/web1.sock addr add 192.0.2.10/24 dev eth0
  $ phoenixctl ip unix:/run/web1.sock route add default via 192.0.2.1
  $ phoenixctl ip -6 unix:/run/web1.sock route
""",
)
@click.option("-4", "ipv4", is_flag=True, help="IPv4 alone.")
@click.option("-6", "ipv6", is_flag=True, help="IPv6 alone.")
@click.argument("guest", shell_complete=complete_guest)
@click.argument("words", nargs=-1, metavar="OBJECT [COMMAND [WORD]...]")
@click.pass_obj
def command(options: Options, guest: str, words: tuple[str, ...], ipv4: bool, ipv6: bool) -> int:
    """Show and change addresses, interfaces and routes of the guest, in the words of ip(8)."""
    if ipv4 and ipv6:
        raise click.UsageError("-4 and -6 exclude each other.")
    asked = ip_syntax.parse(words, AF_INET if ipv4 else AF_INET6 if ipv6 else AF_UNSPEC)

    async def work(connected: Guest) -> tuple[list[dict[str, Any]] | None, str]:
        if asked.command != SHOW:
            await _change(connected, asked)
            return None, ""
        if asked.thing == ROUTE:
            return _shown_routes(_matching(await connected.get_route_list(asked.family), asked), asked.family)
        return _shown_interfaces(await connected.get_netifaces(), asked)

    return each_guest(options, guest, work, lambda found: found)


async def _change(guest: Guest, asked: IpRequest) -> None:
    if asked.thing == LINK:
        assert asked.device is not None
        await (guest.net_iface_up(asked.device) if asked.up else guest.net_iface_down(asked.device))
        return
    assert asked.target is not None
    if asked.thing == ADDRESS:
        assert asked.device is not None
        change = guest.ipaddr_add if asked.command == ADD else guest.ipaddr_del
        await change(asked.target, asked.device)
        return
    if asked.command == ADD:
        device = asked.device or _next_hop(await guest.get_netifaces(), asked.gateway)
        await guest.route_add(device, asked.target, asked.source, asked.gateway, asked.scope)
        return
    if asked.device is None:
        asked = _route_to_delete(await guest.get_route_list(asked.family), asked)
    assert asked.device is not None
    assert asked.target is not None
    await guest.route_del(asked.device, asked.target, asked.source, asked.gateway, asked.scope)


def _next_hop(interfaces: tuple[NetworkInterface, ...], gateway: str) -> str:
    """Return the interface in whose network the gateway is. Raises OSError (ENETUNREACH)."""
    address = ipaddress.ip_address(gateway)
    lengths: dict[str, int] = {}
    for interface in interfaces:
        for text in interface.addresses:
            network = _network(text)
            if network is not None and address in network:
                lengths[interface.name] = max(network.prefixlen, lengths.get(interface.name, 0))
    if not lengths or address.is_link_local:
        raise OSError(ENETUNREACH, "is in no network of the guest; say dev INTERFACE as well", gateway)
    return max(lengths, key=lambda name: lengths[name])


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_interface(text).network
    except ValueError:
        return None


def _route_to_delete(routes: tuple[Route, ...], asked: IpRequest) -> IpRequest:
    """Return what is asked for with the interface of the first route that it fits. Raises OSError (ESRCH)."""
    found = _matching(routes, asked)
    if not found:
        raise OSError(ESRCH, "there is no such route", asked.target)
    return replace(asked, device=found[0].interface)


def _matching(routes: tuple[Route, ...], asked: IpRequest) -> list[Route]:
    return [
        route
        for route in routes
        if asked.device in (None, route.interface)
        and asked.target in (None, _destination(route, asked.family))
        and (not asked.gateway or asked.gateway == route.gateway)
        and (not asked.source or asked.source == route.source)
    ]


def _destination(route: Route, family: int) -> str:
    """Return the destination with its prefix length."""
    if not route.destination:
        return "::/0" if family == AF_INET6 else "0.0.0.0/0"
    try:
        length = bin(int(ipaddress.ip_address(route.mask))).count("1")
    except ValueError:
        return f"{route.destination}/{route.mask}"
    return f"{route.destination}/{length}"


def _shown_routes(routes: list[Route], family: int) -> tuple[list[dict[str, Any]], str]:
    values = []
    lines = []
    for route in routes:
        destination = _destination(route, family) if route.destination else "default"
        whole = "/128" if family == AF_INET6 else "/32"
        words = {
            "via": route.gateway,
            "dev": route.interface,
            "scope": _SCOPES.get(route.scope, str(route.scope)) if route.scope else "",
            "src": route.source,
        }
        words = {name: value for name, value in words.items() if value}
        names = {"via": "gateway", "src": "prefsrc"}
        shown = destination[: -len(whole)] if destination.endswith(whole) else destination
        values.append({"dst": shown, **{names.get(name, name): value for name, value in words.items()}})
        lines.append(" ".join([shown, *(f"{name} {value}" for name, value in words.items())]))
    return values, "\n".join(map(escape, lines))


def _shown_interfaces(interfaces: tuple[NetworkInterface, ...], asked: IpRequest) -> tuple[list[dict[str, Any]], str]:
    shown = [interface for interface in interfaces if asked.device in (None, interface.name)]
    if asked.device is not None and not shown:
        raise OSError(ENODEV, "there is no such interface", asked.device)
    if asked.up:
        shown = [interface for interface in shown if "up" in interface.flags]
    values = []
    lines = []
    for interface in shown:
        value = _interface(interface)
        if asked.thing == ADDRESS:
            addresses = [_address(text) for text in interface.addresses]
            value["addr_info"] = [
                each for each in addresses if not asked.family or each["family"] == _FAMILIES[asked.family]
            ]
            if asked.family and not value["addr_info"]:
                continue
        values.append(value)
        lines += _lines(value, with_link=asked.thing == LINK or not asked.family)
    return values, "\n".join(map(escape, lines))


def _interface(interface: NetworkInterface) -> dict[str, Any]:
    if "loopback" in interface.flags:
        kind = "loopback"
    else:
        kind = "ether" if len(interface.hardware_address) == _ETHERNET_LENGTH else "none"
    return {
        "ifindex": interface.index,
        "ifname": interface.name,
        # As ip(8) has it, what it is comes before how it is.
        "flags": [_FLAGS.get(flag, flag.upper()) for flag in sorted(interface.flags, key=lambda flag: flag == "up")],
        "link_type": kind,
        "address": interface.hardware_address,
    }


def _address(text: str) -> dict[str, Any]:
    local, _, length = text.partition("/")
    family = _FAMILIES[AF_INET6 if ":" in local else AF_INET]
    return {"family": family, "local": local, "prefixlen": int(length) if length.isdecimal() else length}


def _lines(value: dict[str, Any], with_link: bool) -> list[str]:
    lines = [f"{value['ifindex']}: {value['ifname']}: <{','.join(value['flags'])}>"]
    if with_link:
        lines.append(f"    link/{value['link_type']} {value['address']}".rstrip())
    lines += [f"    {each['family']} {each['local']}/{each['prefixlen']}" for each in value.get("addr_info", ())]
    return lines
