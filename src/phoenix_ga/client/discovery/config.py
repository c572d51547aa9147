"""The host's configuration: names and groups of guests.

    sources = ["libvirt", "qemu"]    # where else to look for guests; all, where it is left out

    [guests]
    web1 = "unix:/run/web1.sock"
    lab = { endpoint = "tcp:192.0.2.7:4000", allow-tcp = true }

    [groups]
    front = ["web*", "cache1"]

The user's file, `~/.config/phoenix/config.toml`, comes before that of the host, `/etc/phoenix/config.toml`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import platformdirs

from phoenix_ga.client.endpoints import EndpointError, split_endpoint
from phoenix_ga.client.inventory import KnownGuest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE: Final = "configuration"
#: Where guests are looked for, in the order in which they are named.
SOURCES: Final = ("libvirt", "proxmox", "qemu")
_HOST_FILE: Final = Path("etc/phoenix/config.toml")


@dataclass(frozen=True)
class Config:
    """What the files say. groups: the words of each, by name. sources: where else to look."""

    guests: tuple[KnownGuest, ...]
    groups: dict[str, tuple[str, ...]]
    sources: tuple[str, ...] = SOURCES


def read_config(root: Path = Path("/")) -> Config:
    """Read the files that are there. Raises EndpointError where one is not as it should be.

    root: where the directories of the host are.
    """
    guests: dict[str, KnownGuest] = {}
    groups: dict[str, tuple[str, ...]] = {}
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
        sources = read.sources if sources is None else sources
    return Config(tuple(guests.values()), groups, SOURCES if sources is None else sources)


class _File(NamedTuple):
    guests: dict[str, KnownGuest]
    groups: dict[str, tuple[str, ...]]
    sources: tuple[str, ...] | None


def _read(content: dict[str, Any]) -> _File:
    """Return what is in a file. Raises ValueError."""
    for name in content:
        if name not in ("guests", "groups", "sources"):
            raise ValueError(f"{name!r} is not known here; there are [guests], [groups] and sources")
    guests = {name: _guest(name, value) for name, value in _table(content, "guests").items()}
    groups = {name: _words(name, value) for name, value in _table(content, "groups").items()}
    return _File(guests, groups, _sources(content["sources"]) if "sources" in content else None)


def _sources(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(source in SOURCES for source in value):
        raise ValueError(f"sources is a list of some of {', '.join(SOURCES)}")
    return tuple(value)


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"[{name}] must be a table")
    return value


def _guest(name: str, value: Any) -> KnownGuest:
    if not name or set("/:,@*?[]") & set(name) or not name.isprintable():
        raise ValueError(f"guest {name!r}: a name has none of / : , @ * ? [ ] and no control characters")
    if isinstance(value, str):
        value = {"endpoint": value}
    if not isinstance(value, dict) or not isinstance(value.get("endpoint"), str):
        raise ValueError(f'guest {name!r} needs its endpoint, such as {name} = "unix:/run/{name}.sock"')
    unknown = sorted(set(value) - {"endpoint", "allow-tcp"})
    if unknown:
        raise ValueError(f"guest {name!r}: there is no option {unknown[0]!r}")
    allow_tcp = value.get("allow-tcp", False)
    if not isinstance(allow_tcp, bool):
        raise ValueError(f"guest {name!r}: allow-tcp is true or false")
    try:
        split_endpoint(value["endpoint"])
    except EndpointError as error:
        raise ValueError(f"guest {name!r}: {error}") from None
    return KnownGuest(name, value["endpoint"], SOURCE, allow_tcp=allow_tcp)


def _words(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f'group {name!r} is a list of words, such as {name} = ["web*", "cache1"]')
    return tuple(value)
