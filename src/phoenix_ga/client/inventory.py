"""Guests that are known before they are contacted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The ports that an agent serves by default. libvirt may occupy the second one.
AGENT_PORTS: Final = ("org.guest-agent.0", "org.qemu.guest_agent.0")


@dataclass(frozen=True)
class KnownGuest:
    """A guest of this host, or of another one.

    Attributes:
        name: to show and to select by.
        endpoint: where it is.
        source: where it was found, such as `libvirt`.
        aliases: more names that select it.
        allow_tcp: its endpoint may be a TCP endpoint.
        owners: the users that may listen on its socket, as uids; empty: any.
        error: why it, or the host whose guests it stands for, cannot be reached; empty: nothing is known.
        qmp: the Unix socket of its QEMU's monitor; empty: unknown.
    """

    name: str
    endpoint: str
    source: str
    aliases: tuple[str, ...] = ()
    allow_tcp: bool = False
    owners: tuple[int, ...] = ()
    error: str = ""
    qmp: str = ""


def best_port(endpoints: dict[str, str]) -> str:
    """Return the endpoint of the preferred port in `endpoints`, or an empty string if it has none."""
    return next((endpoints[port] for port in AGENT_PORTS if port in endpoints), "")
