"""`phoenixctl proxy`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.address import parse_target
from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Connect stdin and stdout to a socket of the guest.",
    epilog="""\b
TARGET is HOST:PORT or [IPV6]:PORT as the guest sees it, or the absolute path of a Unix socket in
the guest. Use it as ProxyCommand of ssh(1); `phoenixctl ssh-config` prints the configuration.

\b
Example:
  $ ssh -o ProxyCommand='phoenixctl proxy web1 127.0.0.1:22' root@web1
""",
)
@GUEST
@click.argument("target")
@click.pass_obj
def command(options: Options, guest: str, target: str) -> None:
    """Connect stdin and stdout to a socket of the guest."""
    address = parse_target(target)

    async def work(connected: Guest) -> None:
        from phoenix_ga.cli.relay import join_stdio

        async with connected.connect_stream(address.host, address.port, address.path) as stream:
            await join_stdio(stream)

    ask(options, guest, work)
