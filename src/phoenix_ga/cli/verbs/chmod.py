"""`phoenixctl chmod`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.guest_program import run_on_each_path
from phoenix_ga.cli.modes import Mode
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Change permissions of files in the guest.",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
MODE is octal, such as 644, or symbolic as with chmod(1): clauses such as u=rw, go-w, a+X or
g=u, separated by commas. A clause without u, g, o or a, such as +w, respects a umask of 022.
Symbolic links are followed.

\b
-R runs chmod(1) in the guest, so the agent must allow exec.

\b
Examples:
  $ phoenixctl chmod 640 web1:/etc/motd
  $ phoenixctl chmod u=rw,go=r web1:/etc/motd web1:/etc/issue
""",
)
@click.argument("mode", metavar="MODE")
@PATHS
@click.option("-R", "--recursive", is_flag=True, help="Change directories and their contents recursively.")
@click.pass_obj
def command(options: Options, mode: str, paths: tuple[str, ...], recursive: bool) -> int:
    """Change the permissions of files and directories in the guest, as chmod(1) does."""
    change = Mode.parse(mode)
    if recursive:
        return run_on_each_path(options, ("chmod", "-R", "--", mode), paths, mode=mode)

    async def work(guest: Guest, path: str) -> int:
        status = await guest.files.stat(path, follow=True)
        permissions = change.apply(status.permissions, status.is_directory)
        await guest.files.chmod(path, permissions)
        return permissions

    return each_path(options, paths, work, lambda path, now: ({"path": path, "mode": f"{now:04o}"}, ""))
