"""The host's configuration: names and groups of guests.

    [guests]
    web1 = "unix:/run/web1.sock"

    [groups]
    front = ["web*", "cache1"]

The user's file, `~/.config/phoenix/config.toml`, comes before that of the host, `/etc/phoenix/config.toml`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from phoenix_ga.client.endpoints import EndpointError
from phoenix_ga.client.names.known import KnownGuest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HOST_FILE: Final = Path("/etc/phoenix/config.toml")


@dataclass(frozen=True)
class Config:
    """What the files say. groups: the words of each, by name."""

    guests: tuple[KnownGuest, ...]
    groups: dict[str, tuple[str, ...]]


def read_config() -> Config:
    """Read the files that are there. Raises EndpointError where one is not as it should be."""
    guests: dict[str, KnownGuest] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for path in (platformdirs.user_config_path("phoenix") / "config.toml", _HOST_FILE):
        try:
            with path.open("rb") as file:
                content = tomllib.load(file)
        except FileNotFoundError:
            continue
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise EndpointError(f"{path}: {error}") from None
        for name, endpoint in content.get("guests", {}).items():
            guests.setdefault(name, KnownGuest(name, endpoint, "configuration"))
        for name, words in content.get("groups", {}).items():
            groups.setdefault(name, tuple(words))
    return Config(tuple(guests.values()), groups)
