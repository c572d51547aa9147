"""The ports to serve if none is configured."""

from __future__ import annotations

import os

from phoenix_ga.agent.options.table import DEFAULT_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: In the order in which systemd looks for units; see systemd.unit(5).
UNIT_DIRECTORIES: Final = (
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
QEMU_GA_UNIT: Final = "qemu-guest-agent.service"
_INIT_SCRIPT: Final = ("/etc/init.d/qemu-guest-agent", "/usr/sbin/qemu-ga")


def default_ports(root: str = "") -> tuple[str, ...]:
    """Return the default ports, without that of qemu-ga if qemu-ga is installed and not replaced.

    Otherwise the two would race for the port at each boot.

    Args:
        root: prefix of all paths, for tests.
    """
    return DEFAULT_PORTS[:1] if _has_qemu_ga(root) else DEFAULT_PORTS


def _has_qemu_ga(root: str) -> bool:
    has_systemd = os.path.isdir(f"{root}/run/systemd/system")
    for directory in UNIT_DIRECTORIES:
        path = f"{root}{directory}/{QEMU_GA_UNIT}"
        if os.path.lexists(path):
            if os.path.basename(os.path.realpath(path)) != QEMU_GA_UNIT:
                # It is masked, or another name of our unit. A package sets this name with other init systems, too.
                return False
            if has_systemd:
                return True
            break
    return not has_systemd and all(os.path.exists(root + path) for path in _INIT_SCRIPT)
