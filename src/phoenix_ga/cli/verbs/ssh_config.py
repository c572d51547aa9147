"""`phoenixctl ssh-config`"""

from __future__ import annotations

import re
import shlex
import sys

import click


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
def command(guests: tuple[str, ...], user: str, port: int) -> None:
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
