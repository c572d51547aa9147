"""Guests of Proxmox VE, by their sockets /var/run/qemu-server/VMID.qga.

Source: PVE::QemuServer (qemu-server), and qm.conf(5) for the name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from phoenix_ga.client.inventory import KnownGuest

SOURCE: Final = "proxmox"
_CONFIG_MAX: Final = 256 * 1024


def proxmox_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests with a socket; they have a name from their configuration, and their number as an alias."""
    guests = []
    for socket in (root / "var/run/qemu-server").glob("*.qga"):
        number = socket.stem
        if number.isdigit():
            name = _name(root / "etc/pve/qemu-server" / f"{number}.conf")
            guests.append(KnownGuest(name or number, f"unix:{socket}", SOURCE, (number,) if name else ()))
    return guests


def _name(config: Path) -> str:
    try:
        with config.open(errors="replace") as file:
            text = file.read(_CONFIG_MAX)
    except OSError:
        return ""
    for line in text.splitlines():
        if line.startswith("["):
            # Sections are snapshots.
            break
        key, _, value = line.partition(":")
        if key.strip() == "name":
            return value.strip()
    return ""
