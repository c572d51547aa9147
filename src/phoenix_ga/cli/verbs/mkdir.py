"""`phoenixctl mkdir`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.modes import Mode
from phoenix_ga.cli.paths import PATHS
from phoenix_ga.cli.recursion import done

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# A new directory's permissions where nothing else is asked for, and what a symbolic mode starts from.
_DIRECTORY_MODE = 0o755


_DIRECTORY_MODE_MAX = 0o777


@click.command(
    short_help="Make directories in the guest.",
    epilog="""\b
MODE is octal or symbolic, as with chmod; symbolic ones start from a=rwx. It is set exactly,
whatever the umask of the guest, and is that of the last directory; parents get 755.

\b
Examples:
  $ phoenixctl mkdir unix:/run/web1.sock:/srv/site
  $ phoenixctl mkdir -p -m 750 unix:/run/web1.sock:/srv/www/site/static
""",
)
@PATHS
@click.option("-p", "--parents", is_flag=True, help="Make missing parents; a directory that is there is fine.")
@click.option("-m", "--mode", metavar="MODE", help="Permissions of the new directory. Default: 755.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], parents: bool, mode: str | None) -> int:
    """Make directories in the guest, as mkdir(1) does."""
    permissions = _DIRECTORY_MODE
    if mode is not None:
        permissions = Mode.parse(mode).apply(_DIRECTORY_MODE_MAX, True)

    async def work(guest: Guest, path: str) -> None:
        await guest.directory_create(path, permissions, parents)

    return each_path(options, paths, work, lambda path, _: done(path))
