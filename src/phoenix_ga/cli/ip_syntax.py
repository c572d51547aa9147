"""The syntax of `ip`, which is that of ip(8): parsing and checking a request before the guest is contacted."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import click

from phoenix_ga.wire.commands import AF_INET, AF_INET6, AF_UNSPEC

SHOW, ADD, DELETE, SET = "show", "add", "delete", "set"
ADDRESS, LINK, ROUTE = "address", "link", "route"
SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
_NOWHERE = 255
_SCOPE_MAX = 255
_COMMANDS = {
    ADDRESS: {SHOW: SHOW, "list": SHOW, "lst": SHOW, "ls": SHOW, ADD: ADD, DELETE: DELETE},
    LINK: {SHOW: SHOW, "list": SHOW, "lst": SHOW, "ls": SHOW, SET: SET},
    ROUTE: {SHOW: SHOW, "list": SHOW, "lst": SHOW, "ls": SHOW, ADD: ADD, DELETE: DELETE},
}


# The keywords that can follow, for completion. INTERFACE stands for the name of one.
INTERFACE = "INTERFACE"
_FOLLOWING = {
    (ADDRESS, SHOW): (INTERFACE, "dev", "up"),
    (ADDRESS, ADD): ("dev",),
    (ADDRESS, DELETE): ("dev",),
    (LINK, SHOW): (INTERFACE, "dev", "up"),
    (LINK, SET): (INTERFACE, "dev", "up", "down"),
    (ROUTE, SHOW): ("default", "dev"),
    (ROUTE, ADD): ("default", "via", "dev", "src", "scope"),
    (ROUTE, DELETE): ("default", "via", "dev", "src", "scope"),
}


@dataclass(frozen=True)
class IpRequest:
    """A parsed request.

    thing: address, link or route. command: show, add, delete or set. family: AF_..., 0 for all. device: an interface.
    target: the address with its prefix length, or the destination. up: set it up or down; with show: only those that
    are up. scope: as in rtnetlink(7).
    """

    thing: str
    command: str
    family: int
    device: str | None = None
    target: str | None = None
    up: bool | None = None
    gateway: str = ""
    source: str = ""
    scope: int = 0


def parse(words: Sequence[str], family: int) -> IpRequest:
    """Parse the words after GUEST. Raises click.UsageError.

    Args:
        family: AF_INET with -4, AF_INET6 with -6, else 0.
    """
    if not words:
        raise click.UsageError("Missing object: expected address, link or route after GUEST.")
    thing = _abbreviated(words[0], {name: name for name in _COMMANDS}, "object")
    command = SHOW if len(words) == 1 else _abbreviated(words[1], _COMMANDS[thing], f"command of {thing}")
    rest = _Words(words[2:])
    if thing == ADDRESS and command != SHOW:
        return _address(command, rest, family)
    if thing == LINK and command == SET:
        return _set_link(rest)
    if thing == ROUTE:
        return _route(command, rest, family)
    device, flags = rest.take(("dev",), flags=("up",), bare="dev")
    return IpRequest(thing, SHOW, family, device=device.get("dev"), up=True if flags else None)


def next_words(words: Sequence[str]) -> list[str]:
    """Return the words that can follow `words`; INTERFACE stands for the name of one."""
    try:
        thing = _abbreviated(words[0], {name: name for name in _COMMANDS}, "object") if words else ""
        command = _abbreviated(words[1], _COMMANDS[thing], "command") if len(words) > 1 else ""
    except click.UsageError:
        return []
    if not command:
        return list(dict.fromkeys(_COMMANDS[thing].values())) if thing else list(_COMMANDS)
    if words[-1] == "dev":
        return [INTERFACE]
    if words[-1] == "scope":
        return list(SCOPES)
    given = words[2:]
    return [] if given and given[-1] in ("via", "src") else [w for w in _FOLLOWING[thing, command] if w not in given]


class _Words:
    """Keywords with their values, and at most one word without a keyword."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    def take(
        self, keywords: Sequence[str], flags: Sequence[str] = (), bare: str = ""
    ) -> tuple[dict[str, str], set[str]]:
        """Return the values by keyword, and the flags. bare: the keyword that a word without one belongs to."""
        values: dict[str, str] = {}
        found = set()
        words = iter(self._words)
        for word in words:
            if word in flags:
                found.add(word)
                continue
            name = word if word in keywords else bare
            value = next(words, None) if word in keywords else word
            if not name or name in values:
                known = ", ".join((*keywords, *flags))
                raise click.UsageError(f"Unexpected word {word!r}; expected one of: {known}.")
            if value is None:
                raise click.UsageError(f"Missing value after {word!r}.")
            values[name] = value
        return values, found


def _abbreviated(word: str, meanings: dict[str, str], what: str) -> str:
    for name, meaning in meanings.items():
        if word and name.startswith(word):
            return meaning
    known = ", ".join(dict.fromkeys(meanings.values()))
    raise click.UsageError(f"Unknown {what} {word!r}; expected one of: {known}.")


def _address(command: str, words: _Words, family: int) -> IpRequest:
    values, _ = words.take(("dev",), bare="address")
    if "address" not in values or "dev" not in values:
        raise click.UsageError(f"Expected: address {command} ADDRESS/LENGTH dev INTERFACE.")
    try:
        address = ipaddress.ip_interface(values["address"])
    except ValueError:
        raise click.UsageError(f"{values['address']!r} is not an address such as 192.0.2.10/24.") from None
    _check_family(address, family, values["address"])
    # As with ip(8), an address without a length is that of one host.
    return IpRequest(
        ADDRESS, command, family, device=values["dev"], target=f"{address.ip}/{address.network.prefixlen}"
    )


def _set_link(words: _Words) -> IpRequest:
    values, flags = words.take(("dev",), flags=("up", "down"), bare="dev")
    if "dev" not in values or len(flags) != 1:
        raise click.UsageError("Expected: link set INTERFACE up|down.")
    return IpRequest(LINK, SET, AF_UNSPEC, device=values["dev"], up="up" in flags)


def _route(command: str, words: _Words, family: int) -> IpRequest:
    keywords = ("dev",) if command == SHOW else ("via", "dev", "src", "scope")
    values, _ = words.take(keywords, bare="to")
    if command != SHOW and "to" not in values:
        raise click.UsageError(f"Expected: route {command} DESTINATION [via ADDRESS] [dev INTERFACE].")
    parts = [_parse_address(values[name], family) for name in ("via", "src") if name in values]
    target = values.get("to")
    version = family or (AF_INET6 if any(part.version == 6 for part in parts) else AF_INET)
    if target not in (None, "default"):
        network = _parse_network(target or "", family)
        target, version = str(network), AF_INET6 if network.version == 6 else AF_INET
    elif target is not None:
        target = "::/0" if version == AF_INET6 else "0.0.0.0/0"
    for part in parts:
        _check_family(part, version, str(part))
    if command == ADD and not {"dev", "via"} & values.keys():
        raise click.UsageError("A new route needs a next hop or an interface: via ADDRESS, dev INTERFACE.")
    return IpRequest(
        ROUTE,
        command,
        version,
        device=values.get("dev"),
        target=target,
        gateway=values.get("via", ""),
        source=values.get("src", ""),
        scope=_scope(values.get("scope"), command, version, "via" in values),
    )


def _scope(word: str | None, command: str, family: int, has_gateway: bool) -> int:
    """Return the scope as ip(8) chooses it."""
    if word is not None:
        if word in SCOPES:
            return SCOPES[word]
        if word.isascii() and word.isdigit() and int(word[:4]) <= _SCOPE_MAX:
            return int(word)
        raise click.UsageError(f"Unknown scope {word!r}; expected a number or one of: {', '.join(SCOPES)}.")
    if family == AF_INET6:
        return 0
    if command == DELETE:
        return _NOWHERE  # Any scope.
    return 0 if has_gateway else SCOPES["link"]


def _parse_address(text: str, family: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not an IPv4 or IPv6 address.") from None
    _check_family(address, family, text)
    return address


def _parse_network(text: str, family: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            meant = ipaddress.ip_interface(text).network
        except ValueError:
            raise click.UsageError(f"{text!r} is not a destination such as 198.51.100.0/24 or default.") from None
        raise click.UsageError(f"{text!r} has host bits set; the network is {meant}.") from None
    _check_family(network, family, text)
    return network


def _check_family(
    what: ipaddress.IPv4Address | ipaddress.IPv6Address | ipaddress.IPv4Network | ipaddress.IPv6Network,
    family: int,
    text: str,
) -> None:
    if family and (what.version == 6) != (family == AF_INET6):
        raise click.UsageError(
            f"{text!r} is not {'IPv6' if family == AF_INET6 else 'IPv4'}, but the rest of the request is."
        )
