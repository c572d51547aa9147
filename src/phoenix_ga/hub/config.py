"""The hub's configuration, /etc/phoenix/hub.toml.

linger = 30                              # seconds that a port stays open without clients
audit = "/var/log/phoenix/audit.log"     # default: standard error

[[rule]]                                 # see phoenix_ga.hub.rules
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phoenix_ga.client.hub_sockets import hub_directory
from phoenix_ga.hub.rules import Rules, read_rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINGER: Final = 30.0
_LINGER_MAX: Final = 24 * 3600


class ConfigError(ValueError):
    """The configuration is invalid."""


@dataclass(frozen=True)
class Config:
    """The configuration.

    Attributes:
        directory: where the sockets are.
        linger: seconds that a port stays open without clients.
        audit: the file of the record; None: standard error.
        rules: who may do what.
    """

    directory: Path
    linger: float
    audit: Path | None
    rules: Rules


def default_path() -> Path:
    """Return the path of the configuration: the system's for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/etc/phoenix/hub.toml")
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "phoenix", "hub.toml")


def read_config(path: Path, directory: Path | None = None) -> Config:
    """Read the configuration; a missing file means the defaults. Raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        content = {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        unknown = sorted(set(content) - {"linger", "audit", "rule"})
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; valid are linger, audit and [[rule]]")
        linger = content.get("linger", LINGER)
        if type(linger) not in (int, float) or not 0 <= linger <= _LINGER_MAX:
            raise ValueError(f"linger must be a number of seconds from 0 to {_LINGER_MAX}")
        audit = content.get("audit")
        if audit is not None and not (isinstance(audit, str) and audit.startswith("/")):
            raise ValueError("audit must be an absolute path")
        rules = read_rules(content.get("rule", []))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Config(directory or hub_directory(), float(linger), Path(audit) if audit else None, rules)
