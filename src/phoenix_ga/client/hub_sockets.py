"""Where the hub's sockets are: one for each guest, and one for the hub itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final
from urllib.parse import quote

SYSTEM_DIRECTORY: Final = Path("/run/phoenix")


def hub_directory() -> Path:
    """Return the directory of the sockets of a hub that this user starts."""
    return SYSTEM_DIRECTORY if os.geteuid() == 0 else _user_directory()


def control_sockets() -> list[Path]:
    """Return the control sockets of the hubs that there may be: the user's own, then the system's."""
    directories = [SYSTEM_DIRECTORY] if os.geteuid() == 0 else [_user_directory(), SYSTEM_DIRECTORY]
    override = os.environ.get("PHOENIX_HUB_DIRECTORY")
    return [directory / "hub.sock" for directory in ([Path(override)] if override else directories)]


def socket_name(guest: str) -> str:
    """Return the file name of a guest's socket."""
    return quote(guest, safe="@+ ") + ".sock"


def find_hub_socket(guest: str) -> Path | None:
    """Return the socket on which a hub offers a guest, or None.

    Only the sockets of root and of the user itself count: anybody else could pose as a guest.
    """
    for control in control_sockets():
        path = control.parent / "guests" / socket_name(guest)
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode) and status.st_uid in (0, os.geteuid()):
            return path
    return None


def _user_directory() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "phoenix")
