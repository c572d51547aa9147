"""The verbs `proxy`, `forward` and `ssh-config`: sockets of the guest, and of this host for the guest."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.address import Address
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# A name, an IPv6 address in brackets, or nothing; a path begins with a slash.
_HOST = r"(?:\[(?P<{0}6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<{0}>[^\[\]:/]+))"
_PATH = r"(?P<{0}path>/[^:]+)"
_TARGET = rf"(?:{_PATH.format('to')}|{_HOST.format('to')}:(?P<toport>\d+))"
_SOURCE = rf"(?:{_PATH.format('at')}|(?:{_HOST.format('at')}?:)?(?P<atport>\d+))"


def parse_target(word: str) -> Address:
    """Return the address of HOST:PORT or a path. Raises UsageError."""
    match = re.fullmatch(_TARGET, word)
    if match is None:
        raise click.UsageError(f"{word!r} is neither HOST:PORT nor an absolute path.")
    return _address(match, "to", "")


def parse_forward(word: str) -> tuple[Address, Address]:
    """Return where to listen and where to connect, of [BIND:]PORT:HOST:PORT and the like. Raises UsageError."""
    match = re.fullmatch(f"{_SOURCE}:{_TARGET}", word)
    if match is None:
        raise click.UsageError(
            f"{word!r} is not of the form [ADDRESS:]PORT:HOST:PORT; a path may stand for each side."
        )
    return _address(match, "at", "127.0.0.1"), _address(match, "to", "")


def _address(match: re.Match[str], side: str, default: str) -> Address:
    if match[f"{side}path"]:
        return Address(path=match[f"{side}path"])
    port = int(match[f"{side}port"])
    if port > 65535:
        raise click.UsageError(f"{port} is no port number.")
    host = match[f"{side}6"] or match[side] or default
    return Address("0.0.0.0" if host == "*" else host, port)


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
def proxy(options: Options, endpoint: str, target: str) -> None:
    """Connect stdin and stdout to a socket of the guest."""
    address = parse_target(target)

    async def work(guest: Guest) -> None:
        from phoenix_ga.cli.relay import join_stdio

        async with await guest.connect_stream(address.host, address.port, address.path) as stream:
            await join_stdio(stream)

    options.ask(endpoint, work)


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
def forward(
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

    options.ask(endpoint, work)


@click.command(
    "ssh-config",
    epilog="""\b
Put it into ~/.ssh/config, or into a file that is included there; then `ssh NAME.phoenix`, scp,
sftp, rsync and git reach the guest with no network.

\b
Example:
  $ phoenixctl ssh-config web1=unix:/run/web1.sock >> ~/.ssh/config
  $ ssh root@web1.phoenix
""",
)
@click.argument("guests", metavar="NAME=GUEST...", nargs=-1, required=True)
@click.option("-u", "--user", default="", metavar="USER", help="Log in as this user of the guest.")
@click.option("-p", "--port", default=22, show_default=True, help="The port of sshd in the guest.")
def ssh_config(guests: tuple[str, ...], user: str, port: int) -> None:
    """Print a configuration with which ssh(1) reaches guests through their agents."""
    for word in guests:
        name, equals, endpoint = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]+", name) or not endpoint:
            raise click.UsageError(f"{word!r} is not of the form NAME=GUEST.")
        program = f"{shlex.quote(sys.executable)} -m phoenix_ga.cli"
        # ssh expands what begins with a percent sign.
        command = f"{program} proxy {shlex.quote(endpoint)} 127.0.0.1:{port}".replace("%", "%%")
        click.echo(f"Host {name}.phoenix\n    HostKeyAlias {name}.phoenix\n    ProxyCommand {command}")
        if user:
            click.echo(f"    User {user}")
