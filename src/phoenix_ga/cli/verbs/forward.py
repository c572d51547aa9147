"""`phoenixctl forward`"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.address import parse_forward
from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Forward ports between this host and the guest.",
    epilog="""\b
FORWARD says where to listen and where to connect:
  8080                     port 8080 on both sides
  8080:80                  listen on 8080, connect to 80
  [ADDRESS:]8080:HOST:80   as with ssh(1); HOST is resolved by the connecting side
  0:80                     listen on any free port, which is printed
ADDRESS and HOST are 127.0.0.1 by default; ADDRESS * means all addresses. IPv6 addresses are in
brackets. The absolute path of a Unix socket can replace ADDRESS:PORT and HOST:PORT.

\b
The addresses are printed to stderr. Forwarding runs until Ctrl-C.

\b
Examples:
  $ phoenixctl forward web1 8080:80
  $ phoenixctl forward web1 -L /tmp/db.sock:/run/postgresql/.s.PGSQL.5432
  $ phoenixctl forward web1 -R 3128:proxy.example.org:3128
""",
)
@GUEST
@click.argument("forwards", metavar="[FORWARD]...", nargs=-1)
@click.option("-L", "local", multiple=True, metavar="FORWARD", help="Listen on this host, connect in the guest.")
@click.option("-R", "remote", multiple=True, metavar="FORWARD", help="Listen in the guest, connect from this host.")
@click.pass_obj
def command(
    options: Options, guest: str, forwards: tuple[str, ...], local: tuple[str, ...], remote: tuple[str, ...]
) -> None:
    """Forward connections from this host to the guest (-L, the default), or from the guest to this host (-R)."""
    to_guest = [parse_forward(word) for word in (*forwards, *local)]
    to_host = [parse_forward(word) for word in remote]
    if not to_guest and not to_host:
        raise click.UsageError("Missing argument: give at least one FORWARD, -L or -R.")

    async def work(connected: Guest) -> None:
        import asyncio

        from phoenix_ga.cli.relay import listen_here, listen_there
        from phoenix_ga.cli.streams import unless_failed

        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            for source, target in to_guest:
                address = await stack.enter_async_context(listen_here(connected, source, target))
                click.echo(f"{escape(address)} -> {target} in the guest", err=True)
            for source, target in to_host:
                address = await stack.enter_async_context(listen_there(connected, source, target, ended))
                click.echo(f"{escape(address)} in the guest -> {target}", err=True)
            await unless_failed(ended, connected.wait_closed())

    ask(options, guest, work)
