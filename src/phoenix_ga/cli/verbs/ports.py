"""`phoenixctl ports`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, ListeningSocket, ListeningSockets


@verb(
    short_help="List the ports on which the guest listens.",
    epilog="""\b
TCP ports that accept connections and UDP ports without a peer are listed, with the programs that
have them open. To reach one of them from this host, use forward.

\b
Example:
  $ phoenixctl ports web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the TCP and UDP ports on which the guest listens, as ss -tulnp does."""

    async def work(connected: Guest) -> ListeningSockets:
        return await connected.network.listening()

    def describe(found: ListeningSockets) -> tuple[Any, str]:
        from dataclasses import asdict

        return asdict(found), _as_text(found)

    return each_guest(options, guest, work, describe)


def _as_text(found: ListeningSockets) -> str:
    ordered = sorted(found.sockets, key=lambda each: (each.protocol, each.port, each.address))
    titles = ("protocol", "address", "port", "user", "programs")
    text = titled_table(titles, [_row(each) for each in ordered], "nothing listens")
    return f"{text}\n{found.omitted} more ports are not shown" if found.omitted else text


def _row(each: ListeningSocket) -> tuple[str, ...]:
    programs = ", ".join(f"{process.name} ({process.pid})" for process in each.processes)
    return each.protocol, each.address, str(each.port), each.user or str(each.uid), programs or "-"
