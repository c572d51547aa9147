"""Routes and interface counters from /proc/net, see proc(5).

Each function takes `root`, a prefix of all paths (for tests).
"""

from __future__ import annotations

import sys
from _socket import AF_INET, AF_INET6, inet_ntop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# Columns of /proc/net/dev, after the name: received, then sent.
_RECEIVED: Final = {"bytes": 0, "packets": 1, "errs": 2, "dropped": 3}
_SENT_OFFSET: Final = 8


class Route4:
    """A line of /proc/net/route. initial_time: of a round trip (IRTT), as the kernel has it."""

    __slots__ = (
        "destination",
        "flags",
        "gateway",
        "initial_time",
        "interface",
        "mask",
        "metric",
        "mtu",
        "references",
        "uses",
        "window",
    )

    def __init__(self, words: list[str]) -> None:
        self.interface = words[0]
        self.destination = _address4(words[1])
        self.gateway = _address4(words[2])
        self.flags = int(words[3], 16)
        self.references, self.uses, self.metric = (int(word) for word in words[4:7])
        self.mask = _address4(words[7])
        self.mtu, self.window, self.initial_time = (int(word) for word in words[8:11])


class Route6:
    """A line of /proc/net/ipv6_route."""

    __slots__ = (
        "destination",
        "flags",
        "interface",
        "metric",
        "next_hop",
        "prefix_length",
        "references",
        "source",
        "source_prefix_length",
        "uses",
    )

    def __init__(self, words: list[str]) -> None:
        self.destination = _address6(words[0])
        self.prefix_length = int(words[1], 16)
        self.source = _address6(words[2])
        self.source_prefix_length = int(words[3], 16)
        self.next_hop = _address6(words[4])
        self.metric, self.references, self.uses, self.flags = (int(word, 16) for word in words[5:9])
        self.interface = words[9]


def routes4(root: str = "") -> list[Route4]:
    """Return the routes of IPv4."""
    return [Route4(words) for words in _lines(f"{root}/proc/net/route") if len(words) >= 11 and words[0] != "Iface"]


def routes6(root: str = "") -> list[Route6]:
    """Return the routes of IPv6."""
    return [Route6(words) for words in _lines(f"{root}/proc/net/ipv6_route") if len(words) >= 10]


def interface_statistics(root: str = "") -> dict[str, dict[str, int]]:
    """Return `rx-` and `tx-` `bytes`, `packets`, `errs` and `dropped` of each interface, by its name."""
    counters = {}
    with open(f"{root}/proc/net/dev", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            name, colon, rest = line.rpartition(":")
            if colon:
                numbers = [int(word) for word in rest.split()]
                received = {f"rx-{word}": numbers[column] for word, column in _RECEIVED.items()}
                sent = {f"tx-{word}": numbers[column + _SENT_OFFSET] for word, column in _RECEIVED.items()}
                counters[name.strip()] = {**received, **sent}
    return counters


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="ascii", errors="surrogateescape") as file:
            for line in file:
                yield line.split()
    except FileNotFoundError:
        # Without IPv6, there is no such table.
        return


def _address4(word: str) -> str:
    # In the byte order of the machine.
    return inet_ntop(AF_INET, int(word, 16).to_bytes(4, sys.byteorder))


def _address6(word: str) -> str:
    return inet_ntop(AF_INET6, bytes.fromhex(word))
