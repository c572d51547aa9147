"""`phoenixctl ip`"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from errno import EADDRNOTAVAIL, ENETUNREACH, ENODEV, ESRCH
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli import ip_syntax
from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.completion import complete_ip
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import GuestProblem
from phoenix_ga.cli.ip_syntax import ADD, ADDRESS, LINK, ROUTE, SHOW, IpRequest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.primary_address import primary_address
from phoenix_ga.cli.verb import verb
from phoenix_ga.wire.commands import AF_INET, AF_INET6, AF_UNSPEC

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, NetworkInterface, Route

_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
_FLAGS = {"pointtopoint": "POINTOPOINT"}
_ETHERNET_LENGTH = 17
_SCOPES = {number: name for name, number in ip_syntax.SCOPES.items() if name != "universe"}


@verb(
    short_help="Show and change the network of the guest.",
    options_metavar="[-4|-6]",
    epilog="""\b
OBJECT and COMMAND are those of ip(8) and can be abbreviated; the default COMMAND is show:
  address [show [INTERFACE] [up]]
  address add|delete ADDRESS/LENGTH dev INTERFACE
  link [show [INTERFACE] [up]]
  link set INTERFACE up|down
  route [show [DESTINATION] [dev INTERFACE]]
  route add|delete DESTINATION [via ADDRESS] [dev INTERFACE] [src ADDRESS] [scope SCOPE]

Only the main routing table is used, for IPv4 unless -6 is given. Changes are lost when the
guest reboots, unless --persist is given: then everything that was added to the interface is
also written to a file for the guest's network manager, which is systemd-networkd, NetworkManager,
netplan or ifupdown. Nothing is changed if another file configures the interface and would win.
With address show INTERFACE, --persist writes what is active, and --dry-run only shows the file.

With --primary, only the address that others reach the guest by is printed: that of the default
route, IPv4 if there is one. --no-containers leaves out interfaces of containers and virtual
machines in the guest: veths, and bridges of which no port is of another kind.

\b
Examples:
  $ phoenixctl ip web1 addr
  $ phoenixctl ip web1 link set eth0 up
  $ phoenixctl ip web1 addr add 192.0.2.10/24 dev eth0
  $ phoenixctl ip web1 route add default via 192.0.2.1
  $ phoenixctl ip -6 web1 route
  $ phoenixctl ip web1 addr --primary
  $ phoenixctl ip web1 addr add 192.0.2.11/24 dev eth0 --persist
  $ phoenixctl ip web1 addr show eth0 --persist --dry-run
""",
)
@click.option("-4", "ipv4", is_flag=True, help="IPv4 only.")
@click.option("-6", "ipv6", is_flag=True, help="IPv6 only.")
@click.option("--primary", is_flag=True, help="Print only the address that others reach the guest by.")
@click.option("--no-containers", is_flag=True, help="Leave out interfaces of containers in the guest.")
@click.option("--persist", is_flag=True, help="Write the interface's configuration, so that it survives a reboot.")
@click.option("--dry-run", is_flag=True, help="With --persist: show the file, and write nothing.")
@GUEST
@click.argument("words", nargs=-1, metavar="OBJECT [COMMAND [WORD]...]", shell_complete=complete_ip)
@click.pass_obj
def command(
    options: Options,
    guest: str,
    words: tuple[str, ...],
    ipv4: bool,
    ipv6: bool,
    primary: bool,
    no_containers: bool,
    persist: bool,
    dry_run: bool,
) -> int:
    """Show and change addresses, interfaces and routes of the guest, as ip(8) does."""
    if ipv4 and ipv6:
        raise click.UsageError("-4 and -6 exclude each other.")
    request = ip_syntax.parse(words, AF_INET if ipv4 else AF_INET6 if ipv6 else AF_UNSPEC)

    if (primary and request.thing != ADDRESS) or ((primary or no_containers) and request.command != SHOW):
        raise click.UsageError("--primary is for `address show`, --no-containers for that and for `link show`.")
    if no_containers and request.thing == ROUTE:
        raise click.UsageError("--no-containers is for `address show` and `link show`.")

    _check_persist(request, persist, dry_run)

    async def work(connected: Guest) -> tuple[list[dict[str, Any]] | None, str]:
        if request.command != SHOW:
            change = await _with_device(connected, request)
            assert change.device is not None
            if persist and change.thing != LINK:
                # Refused before anything is changed.
                await connected.network.persist(change.device, dry_run=True)
            await _change(connected, change)
            return await _persist(connected, change.device, False) if persist else (None, "")
        if persist:
            assert request.device is not None
            return await _persist(connected, request.device, dry_run)
        if request.thing == ROUTE:
            return _shown_routes(_matching(await connected.network.routes(request.family), request), request.family)
        interfaces = await connected.network.interfaces()
        if no_containers:
            interfaces = tuple(interface for interface in interfaces if not interface.container)
        if primary:
            return _shown_primary(interfaces, await connected.network.routes(), request)
        return _shown_interfaces(interfaces, request)

    return each_guest(options, guest, work, lambda found: found)


def _check_persist(request: IpRequest, persist: bool, dry_run: bool) -> None:
    """Raises click.UsageError."""
    shows_one = request.thing == ADDRESS and request.command == SHOW and request.device is not None
    if dry_run and not (persist and shows_one):
        raise click.UsageError("--dry-run is for `address show INTERFACE --persist`.")
    if persist and request.command == SHOW and not shows_one:
        raise click.UsageError("To write what is active: `address show INTERFACE --persist`.")
    if persist and request.up is False:
        raise click.UsageError("An interface that is down cannot be persisted.")


async def _persist(guest: Guest, device: str, dry_run: bool) -> tuple[list[dict[str, Any]], str]:
    written = await guest.network.persist(device, dry_run=dry_run)
    value = {name: getattr(written, name) for name in ("manager", "path", "content", "backup")}
    if dry_run:
        text = f"{written.path} ({written.manager}):\n{written.content}".rstrip("\n")
    else:
        text = f"wrote {written.path} ({written.manager})" + (f"; before: {written.backup}" if written.backup else "")
    return [{"ifname": device, **value, "written": not dry_run}], "\n".join(map(escape, text.split("\n")))


async def _with_device(guest: Guest, request: IpRequest) -> IpRequest:
    """Return the request with its interface, which that of a route may lack."""
    if request.device is not None:
        return request
    if request.command == ADD:
        return replace(request, device=_next_hop(await guest.network.interfaces(), request.gateway))
    return _route_to_delete(await guest.network.routes(request.family), request)


async def _change(guest: Guest, request: IpRequest) -> None:
    if request.thing == LINK:
        assert request.device is not None
        network = guest.network
        await (network.set_interface_up if request.up else network.set_interface_down)(request.device)
        return
    assert request.target is not None
    if request.thing == ADDRESS:
        assert request.device is not None
        change = guest.network.add_address if request.command == ADD else guest.network.remove_address
        await change(request.target, request.device)
        return
    assert request.device is not None
    change_route = guest.network.add_route if request.command == ADD else guest.network.delete_route
    await change_route(request.device, request.target, request.source, request.gateway, request.scope)


def _next_hop(interfaces: tuple[NetworkInterface, ...], gateway: str) -> str:
    """Return the interface whose network contains the gateway. Raises GuestProblem (ENETUNREACH)."""
    address = ipaddress.ip_address(gateway)
    lengths: dict[str, int] = {}
    for interface in interfaces:
        for text in interface.addresses:
            network = _network(text)
            if network is not None and address in network:
                lengths[interface.name] = max(network.prefixlen, lengths.get(interface.name, 0))
    if not lengths or address.is_link_local:
        raise GuestProblem(ENETUNREACH, "not in any network of the guest; add dev INTERFACE", gateway)
    return max(lengths, key=lambda name: lengths[name])


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_interface(text).network
    except ValueError:
        return None


def _route_to_delete(routes: tuple[Route, ...], request: IpRequest) -> IpRequest:
    """Return the request with the interface of the first route that matches. Raises GuestProblem (ESRCH)."""
    found = _matching(routes, request)
    if not found:
        raise GuestProblem(ESRCH, "no such route", request.target)
    return replace(request, device=found[0].interface)


def _matching(routes: tuple[Route, ...], request: IpRequest) -> list[Route]:
    return [
        route
        for route in routes
        if request.device in (None, route.interface)
        and request.target in (None, _destination(route, request.family))
        and (not request.gateway or request.gateway == route.gateway)
        and (not request.source or request.source == route.source)
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


def _shown_primary(
    interfaces: tuple[NetworkInterface, ...], routes: tuple[Route, ...], request: IpRequest
) -> tuple[list[dict[str, Any]], str]:
    wanted = [interface for interface in interfaces if request.device in (None, interface.name)]
    found = primary_address(wanted, routes, request.family)
    if found is None:
        raise GuestProblem(
            EADDRNOTAVAIL, "no address that others can reach; phoenixctl wait GUEST address waits for one"
        )
    interface, text = found
    address = _address(text)
    return [{**_interface(interface), "addr_info": [address]}], escape(address["local"])


def _shown_interfaces(
    interfaces: tuple[NetworkInterface, ...], request: IpRequest
) -> tuple[list[dict[str, Any]], str]:
    shown = [interface for interface in interfaces if request.device in (None, interface.name)]
    if request.device is not None and not shown:
        raise GuestProblem(ENODEV, "no such interface", request.device)
    if request.up:
        shown = [interface for interface in shown if "up" in interface.flags]
    values = []
    lines = []
    for interface in shown:
        value = _interface(interface)
        if request.thing == ADDRESS:
            addresses = [_address(text) for text in interface.addresses]
            value["addr_info"] = [
                each for each in addresses if not request.family or each["family"] == _FAMILIES[request.family]
            ]
            if request.family and not value["addr_info"]:
                continue
        values.append(value)
        lines += _lines(value, with_link=request.thing == LINK or not request.family)
    return values, "\n".join(map(escape, lines))


def _interface(interface: NetworkInterface) -> dict[str, Any]:
    if "loopback" in interface.flags:
        kind = "loopback"
    else:
        kind = "ether" if len(interface.hardware_address) == _ETHERNET_LENGTH else "none"
    return {
        "ifindex": interface.index,
        "ifname": interface.name,
        # ip(8) prints UP last.
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
