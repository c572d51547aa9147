"""`phoenixctl forward`"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.address import parse_forward
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@click.command(
    epilog="""\b
A forward is [ADDRESS:]PORT:HOST:PORT as with ssh(1): first where to listen (127.0.0.1 where no
ADDRESS is given, * for all), then where to connect. The path of a Unix socket may stand on either
side, and an IPv6 address in brackets. Ctrl-C ends it.

\b
Examples:
  $ phoenixctl forward unix:/run/web1.sock -L 8080:127.0.0.1:80
  $ phoenixctl forward unix:/run/web1.sock -L /tmp/db.sock:/run/postgresql/.s.PGSQL.5432
  $ phoenixctl forward unix:/run/web1.sock -R 3128:proxy.example.org:3128
"""
)
@click.argument("endpoint", metavar="GUEST")
@click.argument("forwards", metavar="[FORWARD]...", nargs=-1)
@click.option("-L", "local", multiple=True, metavar="FORWARD", help="Listen here, and connect in the guest.")
@click.option("-R", "remote", multiple=True, metavar="FORWARD", help="Listen in the guest, and connect here.")
@click.pass_obj
def command(
    options: Options, endpoint: str, forwards: tuple[str, ...], local: tuple[str, ...], remote: tuple[str, ...]
) -> None:
    """Make sockets of the guest appear on this host (-L, or no option), or the other way round (-R)."""
    ours = [parse_forward(word) for word in (*forwards, *local)]
    theirs = [parse_forward(word) for word in remote]
    if not ours and not theirs:
        raise click.UsageError("What is to be forwarded? Give at least one FORWARD, -L or -R.")

    async def work(guest: Guest) -> None:
        from phoenix_ga.cli.relay import listen_here, listen_there

        async with AsyncExitStack() as listening:
            for source, target in ours:
                where = await listening.enter_async_context(listen_here(guest, source, target))
                click.echo(f"{escape(where)} -> {target} in the guest", err=True)
            for source, target in theirs:
                where = await listening.enter_async_context(listen_there(guest, source, target))
                click.echo(f"{escape(where)} in the guest -> {target}", err=True)
            await guest.wait_closed()

    ask(options, endpoint, work)
