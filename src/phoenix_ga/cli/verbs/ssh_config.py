"""`phoenixctl ssh-config`"""

from __future__ import annotations

import re
import shlex
import sys

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.selection import select
from phoenix_ga.cli.verb import verb


@verb(
    short_help="Print a configuration for ssh.",
    epilog="""\b
GUEST is the name of a guest, a list, a pattern or a group. NAME=GUEST gives a guest another
name; an endpoint such as unix:PATH needs one. Append the output to ~/.ssh/config, or to a file
that it includes. Then ssh, scp, sftp, rsync and git reach the guest as NAME.phoenix.

\b
Example:
  $ phoenixctl ssh-config web1 >> ~/.ssh/config
  $ ssh root@web1.phoenix
""",
)
@click.argument("guests", metavar="[NAME=]GUEST...", nargs=-1, required=True, shell_complete=complete_guest)
@click.option("-u", "--user", default="", metavar="USER", help="Log in as this user of the guest.")
@click.option("-p", "--port", default=22, show_default=True, metavar="PORT", help="Port of sshd in the guest.")
def command(guests: tuple[str, ...], user: str, port: int) -> None:
    """Print a configuration for ssh(1) to reach guests through their agents."""
    program = f"{shlex.quote(sys.executable)} -m phoenix_ga.cli"
    for name, guest in [pair for word in guests for pair in _named(word)]:
        # ssh expands percent signs.
        command = f"{program} proxy {shlex.quote(guest)} 127.0.0.1:{port}".replace("%", "%%")
        click.echo(f"Host {name}.phoenix\n    HostKeyAlias {name}.phoenix\n    ProxyCommand {command}")
        if user:
            click.echo(f"    User {user}")


def _named(word: str) -> list[tuple[str, str]]:
    """Return the guests that a word stands for, as pairs of name and GUEST."""
    name, equals, guest = word.partition("=")
    pairs = [(name, guest)] if equals else [(known.name, known.name) for known in select(word)]
    for name, guest in pairs:
        if not guest or not re.fullmatch(r"[\w.@-]+", name):
            raise click.UsageError(f"{word!r} has no usable name; write NAME=GUEST.")
    return pairs
