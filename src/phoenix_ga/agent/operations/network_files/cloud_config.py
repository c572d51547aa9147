"""The network configuration of NoCloud, versions 1 and 2, as cloud-init documents them: Ethernet interfaces only."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from errno import EINVAL, ENOTSUP

from phoenix_ga.agent.operations.network import parse_address, parse_prefix
from phoenix_ga.agent.operations.network_files.settings import Settings, StaticRoute
from phoenix_ga.agent.operations.network_files.yaml_subset import parse_yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_CLOUD_INIT: Final = "netinit configures Ethernet interfaces only; use cloud-init for it"
_DEFAULTS: Final = {AF_INET: "0.0.0.0/0", AF_INET6: "::/0"}
# Keys of version 2 that are understood, or that change nothing that matters here.
_V2_KEYS: Final = frozenset(
    (
        *("match", "dhcp4", "dhcp6", "addresses", "gateway4", "gateway6", "routes", "nameservers", "mtu"),
        *("optional", "wakeonlan", "accept-ra", "renderer"),
    )
)
_V1_DHCP: Final = {
    "dhcp": (True, False),
    "dhcp4": (True, False),
    "dhcp6": (False, True),
    "ipv6_dhcpv6-stateful": (False, True),
}
_V1_STATIC: Final = ("static", "static6")


class Wanted:
    """What is wanted of the interface with this hardware address, or else of this name."""

    __slots__ = ("hardware_address", "name", "settings")

    def __init__(self, name: str, hardware_address: str) -> None:
        self.name = name
        self.hardware_address = hardware_address.lower()
        self.settings = Settings(name, self.hardware_address)


def parse_network_config(text: str) -> list[Wanted]:
    """Return what a file `network-config` asks for.

    Raises:
        OSError: EINVAL if it is malformed; ENOTSUP if it asks for something that is left to cloud-init.
    """
    config = _mapping(parse_yaml(text), "network-config")
    config = _mapping(config.get("network", config), "network")
    version = config.get("version")
    if version == 1:
        return _version_1(config)
    if version == 2:
        return _version_2(config)
    raise OSError(EINVAL, f"network-config: the version is 1 or 2, not {version!r}")


def _version_2(config: dict[str, Any]) -> list[Wanted]:
    for kind in config:
        if kind not in ("version", "renderer", "ethernets"):
            raise OSError(ENOTSUP, f"network-config has {kind[:100]!r}: {_CLOUD_INIT}")
    found = []
    for identifier, given in _mapping(config.get("ethernets"), "ethernets").items():
        where = f"ethernets: {identifier[:100]}"
        values = _mapping(given, where)
        unknown = sorted(set(values) - _V2_KEYS - {"set-name"})
        if unknown:
            raise OSError(ENOTSUP, f"{where}: {unknown[0][:100]!r} is not understood")
        match = _mapping(values.get("match"), where)
        # The original reads the name with an underscore.
        hardware_address = _text(match.get("macaddress", match.get("mac_address")), where)
        name = _text(match.get("name"), where) or ("" if hardware_address else identifier)
        if set(name) & set("*?[") or set(match) - {"macaddress", "mac_address", "name"}:
            raise OSError(ENOTSUP, f"{where}: match by macaddress or by one name; patterns are left to cloud-init")
        if "set-name" in values and values["set-name"] != name:
            raise OSError(ENOTSUP, f"{where}: set-name is left to cloud-init, or to systemd.link(5)")
        wanted = Wanted(name, hardware_address)
        settings = wanted.settings
        settings.dhcp4, settings.dhcp6 = values.get("dhcp4") is True, values.get("dhcp6") is True
        settings.addresses = [_address(each, where) for each in _list(values.get("addresses"), where)]
        for key in ("gateway4", "gateway6"):
            if key in values:
                settings.routes.append(_route("default", values[key], None, where))
        for each in _list(values.get("routes"), where):
            route = _mapping(each, where)
            settings.routes.append(_route(route.get("to"), route.get("via"), route.get("metric"), where))
        _add_name_servers(settings, _mapping(values.get("nameservers"), where), "addresses", where)
        settings.mtu = _number(values.get("mtu"), where)
        found.append(wanted)
    return found


def _version_1(config: dict[str, Any]) -> list[Wanted]:
    found = []
    servers: dict[str, Any] = {"address": [], "search": []}
    for each in _list(config.get("config"), "config"):
        values = _mapping(each, "config")
        kind = values.get("type")
        if kind == "nameserver":
            for key in servers:
                servers[key] += _list_or_one(values.get(key), "nameserver")
        elif kind == "physical":
            found.append(_physical(values))
        elif kind != "loopback":
            raise OSError(ENOTSUP, f"network-config has a {str(kind)[:100]!r}: {_CLOUD_INIT}")
    for wanted in found:
        _add_name_servers(wanted.settings, servers, "address", "nameserver")
    return found


def _physical(values: dict[str, Any]) -> Wanted:
    where = f"interface {_text(values.get('name'), 'config')[:100]}"
    wanted = Wanted(_text(values.get("name"), where), _text(values.get("mac_address"), where))
    settings = wanted.settings
    settings.mtu = _number(values.get("mtu"), where)
    for each in _list(values.get("subnets"), where):
        subnet = _mapping(each, where)
        kind = subnet.get("type")
        if kind in _V1_DHCP:
            dhcp4, dhcp6 = _V1_DHCP[kind]
            settings.dhcp4, settings.dhcp6 = settings.dhcp4 or dhcp4, settings.dhcp6 or dhcp6
        elif kind in _V1_STATIC:
            settings.addresses.append(
                _address(_with_mask(subnet.get("address"), subnet.get("netmask"), where), where)
            )
        elif kind != "manual":
            raise OSError(ENOTSUP, f"{where}: a subnet of type {str(kind)[:100]!r} is left to cloud-init")
        if "gateway" in subnet:
            settings.routes.append(_route("default", subnet["gateway"], None, where))
        for each_route in _list(subnet.get("routes"), where):
            route = _mapping(each_route, where)
            to = _with_mask(route.get("network", route.get("destination")), route.get("netmask"), where)
            settings.routes.append(_route(to, route.get("gateway"), route.get("metric"), where))
        names = {"address": subnet.get("dns_nameservers"), "search": subnet.get("dns_search")}
        _add_name_servers(settings, names, "address", where)
    return wanted


def _add_name_servers(settings: Settings, values: dict[str, Any], key: str, where: str) -> None:
    for each in _list_or_one(values.get(key), where):
        parse_address(_text(each, where))
        settings.nameservers.append(_text(each, where))
    for each in _list_or_one(values.get("search"), where):
        domain = _text(each, where)
        if not domain.isascii() or not domain.replace("-", "").replace(".", "").replace("_", "").isalnum():
            raise OSError(EINVAL, f"{where}: {domain[:100]!r} is no domain")
        settings.search.append(domain)


def _route(to: Any, via: Any, metric: Any, where: str) -> StaticRoute:
    destination, gateway = _text(to, where), _text(via, where)
    if gateway:
        family = parse_address(gateway)[0]
    elif destination == "default":
        raise OSError(EINVAL, f"{where}: a default route without a gateway")
    else:
        family = parse_prefix(destination)[0]
    if destination in ("default", *_DEFAULTS.values()):
        destination = _DEFAULTS[family]
    its_family, raw, length = parse_prefix(destination)
    if its_family != family:
        raise OSError(EINVAL, f"{where}: the route to {destination} has a gateway of another family")
    if "/" not in destination:
        destination = f"{destination}/{len(raw) * 8}"
    if int.from_bytes(raw, "big") & ((1 << (len(raw) * 8 - length)) - 1):
        raise OSError(EINVAL, f"{where}: {destination} has host bits set")
    return StaticRoute(destination, gateway, _number(metric, where))


def _address(value: Any, where: str) -> str:
    text = _text(value, where)
    length = parse_prefix(text)[2]
    return text if "/" in text else f"{text}/{length}"


def _with_mask(address: Any, mask: Any, where: str) -> str:
    """Return the address with its prefix length, which a mask or a number may give."""
    text = _text(address, where)
    if "/" in text or mask is None or text == "default":
        return text
    if isinstance(mask, int):
        return f"{text}/{mask}"
    _, raw = parse_address(_text(mask, where))
    bits = int.from_bytes(raw, "big")
    length = bin(bits).count("1")
    if bits != (1 << len(raw) * 8) - (1 << (len(raw) * 8 - length)):
        raise OSError(EINVAL, f"{where}: {mask!r} is no mask")
    return f"{text}/{length}"


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise OSError(EINVAL, f"{where}: expected a mapping")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise OSError(EINVAL, f"{where}: expected a list")
    return value


def _list_or_one(value: Any, where: str) -> list[Any]:
    return value.split() if isinstance(value, str) else _list(value, where)


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise OSError(EINVAL, f"{where}: expected a text, not {str(value)[:100]!r}")
    return value


def _number(value: Any, where: str) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 2**32:
        raise OSError(EINVAL, f"{where}: expected a number, not {str(value)[:100]!r}")
    return value
