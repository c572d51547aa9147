"""The agent in a guest of the lab: the files of an installation, and the wait for the agent."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from lab.errors import GuestError
from lab.files import GuestFile, Source, Symlink
from phoenix_ga.agent.install import PROGRAM, unit
from tools.build_pyz import build

AGENT_PORT = "org.guest-agent.0"
#: Time limit in seconds for the agent to answer after the guest can run commands.
AGENT_TIMEOUT = 600.0
#: A command for the guest that waits until the agent has opened a port, for ports that only libvirt can use.
AGENT_RUNS = "until ls -l /proc/$(systemctl show -P MainPID phoenix-ga)/fd | grep -q /dev/vport; do sleep 0.2; done"
# Then the client connects again, in case that what it sent is lost.
_ATTEMPT_SECONDS = 30.0


def agent_files(archive: Path) -> dict[str, Source]:
    """Build the agent into `archive`, and return the files of an installation (path in the guest -> source).

    The unit is enabled: systemd starts the agent when the guest boots.
    """
    build(archive)
    return {
        PROGRAM: GuestFile(archive.read_bytes(), mode=0o755),
        "/etc/systemd/system/phoenix-ga.service": GuestFile(unit(PROGRAM, replace_qemu_ga=False)),
        "/etc/systemd/system/multi-user.target.wants/phoenix-ga.service": Symlink("../phoenix-ga.service"),
    }


def wait_for_agent(path: Path, timeout: float = AGENT_TIMEOUT) -> None:
    """Wait until the agent answers on its port.

    Args:
        path: The host's end of the port, a Unix socket.
        timeout: In seconds.

    Raises:
        GuestError: The agent did not answer in time.
    """
    deadline = time.monotonic() + timeout
    attempt = 0
    while (remaining := deadline - time.monotonic()) > 0:
        attempt += 1
        if _ping(path, f"wait-{attempt}", min(remaining, _ATTEMPT_SECONDS)):
            return
    raise GuestError(f"the agent did not answer within {timeout:.0f} s on {path}")


def _ping(path: Path, tag: str, timeout: float) -> bool:
    """Send a ping and return whether it was answered. Late answers to earlier ones are read and dropped."""
    deadline = time.monotonic() + timeout
    data = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"execute": "ping", "tag": "%s"}\n' % tag.encode())
            while f'"{tag}"'.encode() not in data or not data.endswith(b"\n"):
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                received = connection.recv(65536)
                if not received:
                    break
                data += received
            else:
                return True
    except OSError:
        pass
    time.sleep(0.1)
    return False
