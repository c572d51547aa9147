"""How the agent is put into a guest: the files of an installation, for the lab's machines."""

from __future__ import annotations

from pathlib import Path

from lab.files import GuestFile, Source, Symlink
from phoenix_ga.agent.install import PROGRAM, unit
from tools.build_pyz import build

AGENT_PORT = "org.guest-agent.0"


def agent_files(archive: Path) -> dict[str, Source]:
    """Build the agent into `archive`, and return what an installation puts where.

    The unit is enabled, so that systemd starts the agent when the guest boots.
    """
    build(archive)
    return {
        PROGRAM: GuestFile(archive.read_bytes(), mode=0o755),
        "/etc/systemd/system/phoenix-ga.service": GuestFile(unit(PROGRAM, replace_qemu_ga=False)),
        "/etc/systemd/system/multi-user.target.wants/phoenix-ga.service": Symlink("../phoenix-ga.service"),
    }
