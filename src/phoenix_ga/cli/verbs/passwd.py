"""`phoenixctl passwd`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Set the password of a user of the guest.",
    epilog="""\b
The password is asked for, or read from the first line of stdin. It is never an argument, which
other users of this host could see. With --crypted it is a hash as in shadow(5).

\b
Example:
  $ phoenixctl passwd --stdin web1 alice < password
""",
)
@GUEST
@click.argument("user")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.option("--crypted", is_flag=True, help="The password is a hash.")
@click.pass_obj
def command(options: Options, guest: str, user: str, from_stdin: bool, crypted: bool) -> int:
    """Set the password of a user of the guest."""
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\n")
    else:
        secret = click.prompt(f"New password for {user}", hide_input=True, confirmation_prompt=True, err=True)
    if not secret:
        raise click.UsageError("The password is empty.")

    async def work(connected: Guest) -> None:
        import base64

        encoded = base64.b64encode(secret.encode("utf-8", "surrogateescape")).decode()
        await connected.qga.set_user_password(user, encoded, crypted)

    return each_guest(options, guest, work, lambda _: (True, ""))
