"""`phoenixctl chown`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.guest_program import run_on_each_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Change owners of files in the guest.",
    epilog="""\b
OWNER and GROUP are names that the guest knows, or numbers. Symbolic links are followed.

\b
-R runs chown(1) in the guest, so the agent must allow exec. It changes symbolic links inside the
directory, not their targets.

\b
Examples:
  $ phoenixctl chown root:adm web1:/etc/motd
  $ phoenixctl chown :adm web1:/etc/motd
""",
)
@click.argument("owner", metavar="[OWNER][:GROUP]")
@PATHS
@click.option("-R", "--recursive", is_flag=True, help="Change directories and their contents recursively.")
@click.pass_obj
def command(options: Options, owner: str, paths: tuple[str, ...], recursive: bool) -> int:
    """Change owner and group of files and directories in the guest, as chown(1) does."""
    user, colon, group = owner.partition(":")
    if "/" in owner or not (user or group) or (colon and not group):
        raise click.UsageError(f"{owner!r} is not of the form OWNER, OWNER:GROUP or :GROUP.")
    if recursive:
        return run_on_each_path(options, ("chown", "-R", "--", owner), paths, user=user, group=group)

    async def work(guest: Guest, path: str) -> None:
        await guest.files.chown(path, -1, -1, user, group)

    return each_path(options, paths, work, lambda path, _: ({"path": path, "user": user, "group": group}, ""))
