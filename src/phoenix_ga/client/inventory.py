"""What is known of a guest before anybody asked it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The ports that an agent serves by default. The first is ours alone; the other one libvirt likes to hold.
AGENT_PORTS: Final = ("org.guest-agent.0", "org.qemu.guest_agent.0")


@dataclass(frozen=True)
class KnownGuest:
    """A guest of this host.

    name: to show and to select by. endpoint: where it is. source: who says so, such as `libvirt`.
    aliases: more names that select it. allow_tcp: its endpoint may be one of TCP.
    """

    name: str
    endpoint: str
    source: str
    aliases: tuple[str, ...] = ()
    allow_tcp: bool = False


def best_port(endpoints: dict[str, str]) -> str:
    """Return the endpoint of the port to prefer, where `endpoints` has one of AGENT_PORTS, else ``."""
    return next((endpoints[port] for port in AGENT_PORTS if port in endpoints), "")
