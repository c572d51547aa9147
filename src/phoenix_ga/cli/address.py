"""Addresses of sockets, on this host or in a guest, and the forwards made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

# A name, an IPv6 address in brackets, or a path.
_HOST = r"(?:\[(?P<{0}6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<{0}>[^\[\]:/]+))"
_PATH = r"(?P<{0}path>/[^:]+)"
_TARGET = rf"(?:{_PATH.format('to')}|(?:{_HOST.format('to')}:)?(?P<toport>\d+))"
_SOURCE = rf"(?:{_PATH.format('at')}|(?:{_HOST.format('at')}?:)?(?P<atport>\d+))"
_LOOPBACK = "127.0.0.1"
_PORT_MAX = 65535


@dataclass(frozen=True)
class Address:
    """Where to connect or listen: `host` and `port`, or a Unix socket at `path`."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def parse_target(word: str) -> Address:
    """Parse HOST:PORT or a path. Raises UsageError."""
    match = re.fullmatch(_TARGET, word)
    if match is None or word.isdigit():
        raise click.UsageError(f"{word!r} is neither HOST:PORT nor an absolute path.")
    return _address(match, "to")


def parse_forward(word: str) -> tuple[Address, Address]:
    """Parse [[ADDRESS:]PORT:][HOST:]PORT, with a path in the place of either side.

    Returns:
        Where to listen, and where to connect.

    Raises:
        UsageError: If it has another form.
    """
    match = re.fullmatch(f"{_SOURCE}:{_TARGET}", f"{word}:{word}" if word.isdigit() else word)
    if match is None:
        raise click.UsageError(
            f"{word!r} is not of the form PORT, PORT:PORT or [ADDRESS:]PORT:HOST:PORT; "
            "a path can replace ADDRESS:PORT or HOST:PORT."
        )
    source, target = _address(match, "at"), _address(match, "to")
    if not (target.path or target.port):
        raise click.UsageError(f"{word!r} connects to port 0; write 0:PORT to listen on any free port.")
    return source, target


def _address(match: re.Match[str], side: str) -> Address:
    if match[f"{side}path"]:
        return Address(path=match[f"{side}path"])
    port = int(match[f"{side}port"])
    if port > _PORT_MAX:
        raise click.UsageError(f"{port} is not a port number.")
    host = match[f"{side}6"] or match[side] or _LOOPBACK
    return Address("0.0.0.0" if host == "*" else host, port)
