"""The configuration of the host: names and groups of guests.

    sources = ["libvirt", "qemu"]    # other sources of guests; default: all

    [guests]
    web1 = "unix:/run/web1.sock"
    lab = { endpoint = "tcp:192.0.2.7:4000", allow-tcp = true }

    [groups]
    front = ["web*", "cache1"]

    [hosts]                          # their guests are called vh1/NAME
    vh1 = "root@vh1.example.com"

`~/.config/phoenix/config.toml` takes precedence over `/etc/phoenix/config.toml`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import platformdirs

from phoenix_ga.client.endpoints import parse_host, split_endpoint
from phoenix_ga.client.errors import EndpointError
from phoenix_ga.client.inventory import KnownGuest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE: Final = "configuration"
#: The other sources, in order of precedence.
SOURCES: Final = ("libvirt", "proxmox", "qemu")
_HOST_FILE: Final = Path("etc/phoenix/config.toml")


@dataclass(frozen=True)
class Config:
    """The content of the files.

    Attributes:
        guests: the guests.
        groups: the items of each group, by its name.
        hosts: other hosts as `[USER@]HOST[:PORT]`, by name.
        sources: other sources of guests.
    """

    guests: tuple[KnownGuest, ...]
    groups: dict[str, tuple[str, ...]]
    hosts: dict[str, str]
    sources: tuple[str, ...] = SOURCES


def read_config(root: Path = Path("/")) -> Config:
    """Read the files that exist. Raises EndpointError if one is invalid.

    Args:
        root: the root directory of the host.
    """
    guests: dict[str, KnownGuest] = {}
    groups: dict[str, tuple[str, ...]] = {}
    hosts: dict[str, str] = {}
    sources: tuple[str, ...] | None = None
    for path in (platformdirs.user_config_path("phoenix") / "config.toml", root / _HOST_FILE):
        try:
            with path.open("rb") as file:
                content = tomllib.load(file)
            read = _read(content)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise EndpointError(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise EndpointError(f"{path}: {error}") from None
        guests = {**read.guests, **guests}
        groups = {**read.groups, **groups}
        hosts = {**read.hosts, **hosts}
        sources = read.sources if sources is None else sources
    return Config(tuple(guests.values()), groups, hosts, SOURCES if sources is None else sources)


class _File(NamedTuple):
    guests: dict[str, KnownGuest]
    groups: dict[str, tuple[str, ...]]
    hosts: dict[str, str]
    sources: tuple[str, ...] | None


def _read(content: dict[str, Any]) -> _File:
    """Return the content of a file. Raises ValueError."""
    for name in content:
        if name not in ("guests", "groups", "hosts", "sources"):
            raise ValueError(f"unknown key {name!r}; valid are [guests], [groups], [hosts] and sources")
    guests = {name: _guest(name, value) for name, value in _table(content, "guests").items()}
    groups = {name: _words(name, value) for name, value in _table(content, "groups").items()}
    hosts = {name: _host(name, value) for name, value in _table(content, "hosts").items()}
    return _File(guests, groups, hosts, _sources(content["sources"]) if "sources" in content else None)


def _sources(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(source in SOURCES for source in value):
        raise ValueError(f"sources must be a list of some of {', '.join(SOURCES)}")
    return tuple(value)


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"[{name}] must be a table")
    return value


def _check_name(kind: str, name: str) -> None:
    if not name or set("/:,@*?[]") & set(name) or not name.isprintable():
        raise ValueError(f"{kind} {name!r}: a name must not contain / : , @ * ? [ ] or control characters")


def _host(name: str, value: Any) -> str:
    _check_name("host", name)
    if not isinstance(value, str):
        raise ValueError(f'host {name!r} must be a string, such as {name} = "root@{name}.example.com"')
    try:
        parse_host(value)
    except EndpointError as error:
        raise ValueError(f"host {name!r}: {error}") from None
    return value


def _guest(name: str, value: Any) -> KnownGuest:
    _check_name("guest", name)
    if isinstance(value, str):
        value = {"endpoint": value}
    if not isinstance(value, dict) or not isinstance(value.get("endpoint"), str):
        raise ValueError(f'guest {name!r} needs an endpoint, such as {name} = "unix:/run/{name}.sock"')
    unknown = sorted(set(value) - {"endpoint", "allow-tcp"})
    if unknown:
        raise ValueError(f"guest {name!r}: unknown option {unknown[0]!r}")
    allow_tcp = value.get("allow-tcp", False)
    if not isinstance(allow_tcp, bool):
        raise ValueError(f"guest {name!r}: allow-tcp must be true or false")
    try:
        split_endpoint(value["endpoint"])
    except EndpointError as error:
        raise ValueError(f"guest {name!r}: {error}") from None
    return KnownGuest(name, value["endpoint"], SOURCE, allow_tcp=allow_tcp)


def _words(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f'group {name!r} must be a list of strings, such as {name} = ["web*", "cache1"]')
    return tuple(value)
