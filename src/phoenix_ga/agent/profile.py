"""Profiles: a policy for the host, and a sandbox of systemd that fits it, as a drop-in of our unit."""

from __future__ import annotations

import pkgutil

from phoenix_ga.agent.options.option import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NAMES: Final = ("backup", "probes", "read-only")
#: In the directory of the unit's drop-ins.
FILE_NAME: Final = "profile.conf"


def drop_in(name: str, program: str) -> bytes:
    """Return the drop-in of a profile. The policy is on the command line, so no config file can extend it.

    Args:
        name: one of NAMES.
        program: what the unit runs.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in NAMES:
        raise ConfigError(f"there is no profile {name!r}; there are: {', '.join(NAMES)}")
    words = [program]
    for line in _read(f"{name}.conf").decode().splitlines():
        key, equals, value = line.partition(" = ")
        if equals and not line.startswith("#"):
            words.append(f"--{key}={value.replace(' ', '')}")
    return _read(f"{name}.service") + f"\n# The policy.\nExecStart=\nExecStart={' '.join(words)}\n".encode()


def _read(name: str) -> bytes:
    data = pkgutil.get_data("phoenix_ga.agent", f"profiles/{name}")
    assert data is not None
    return data
