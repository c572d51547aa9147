"""`phoenixctl users`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import moment, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.generated.qga import GuestUser


@verb(
    short_help="List who is logged in.",
    epilog="""\b
Example:
  $ phoenixctl users web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the users who are logged in to the guest, and since when."""

    async def work(connected: Guest) -> list[GuestUser]:
        return await connected.qga.get_users()

    return each_guest(options, guest, work, lambda users: (users, _as_text(users)))


def _as_text(users: list[GuestUser]) -> str:
    rows = [(user["user"], moment(int(user["login-time"]))) for user in users]
    return titled_table(("user", "since"), rows, "nobody is logged in")
