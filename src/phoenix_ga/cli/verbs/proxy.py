"""`phoenixctl proxy`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.address import parse_target
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@click.command(
    epilog="""\b
What is read from stdin goes to the socket, and what comes from there to stdout. TARGET is
HOST:PORT as the guest sees it, [IPV6]:PORT, or the path of a Unix socket in the guest.

\b
Example:
  $ ssh -o ProxyCommand='phoenixctl proxy unix:/run/web1.sock 127.0.0.1:22' root@web1
"""
)
@click.argument("endpoint", metavar="GUEST")
@click.argument("target", metavar="TARGET")
@click.pass_obj
def command(options: Options, endpoint: str, target: str) -> None:
    """Connect stdin and stdout to a socket of the guest."""
    address = parse_target(target)

    async def work(guest: Guest) -> None:
        from phoenix_ga.cli.relay import join_stdio

        async with await guest.connect_stream(address.host, address.port, address.path) as stream:
            await join_stdio(stream)

    ask(options, endpoint, work)
