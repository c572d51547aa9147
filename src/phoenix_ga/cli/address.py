"""Addresses of sockets, of this host or of a guest."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Address:
    """Where to connect or to listen: `host` and `port`, or a Unix socket at `path`."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


# A name, an IPv6 address in brackets, or nothing; a path begins with a slash.
_HOST = r"(?:\[(?P<{0}6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<{0}>[^\[\]:/]+))"
_PATH = r"(?P<{0}path>/[^:]+)"
_TARGET = rf"(?:{_PATH.format('to')}|{_HOST.format('to')}:(?P<toport>\d+))"
_SOURCE = rf"(?:{_PATH.format('at')}|(?:{_HOST.format('at')}?:)?(?P<atport>\d+))"


def parse_target(word: str) -> Address:
    """Return the address of HOST:PORT or a path. Raises UsageError."""
    match = re.fullmatch(_TARGET, word)
    if match is None:
        raise click.UsageError(f"{word!r} is neither HOST:PORT nor an absolute path.")
    return _address(match, "to", "")


def parse_forward(word: str) -> tuple[Address, Address]:
    """Return where to listen and where to connect, of [BIND:]PORT:HOST:PORT and the like. Raises UsageError."""
    match = re.fullmatch(f"{_SOURCE}:{_TARGET}", word)
    if match is None:
        raise click.UsageError(
            f"{word!r} is not of the form [ADDRESS:]PORT:HOST:PORT; a path may stand for each side."
        )
    return _address(match, "at", "127.0.0.1"), _address(match, "to", "")


def _address(match: re.Match[str], side: str, default: str) -> Address:
    if match[f"{side}path"]:
        return Address(path=match[f"{side}path"])
    port = int(match[f"{side}port"])
    if port > 65535:
        raise click.UsageError(f"{port} is no port number.")
    host = match[f"{side}6"] or match[side] or default
    return Address("0.0.0.0" if host == "*" else host, port)
