"""`phoenixctl mkdir`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.modes import Mode
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_DEFAULT = 0o755
# Where a symbolic mode starts from.
_START = 0o777


@verb(
    short_help="Make directories in the guest.",
    epilog="""\b
MODE is octal or symbolic, as with chmod; a symbolic mode starts from a=rwx. The umask of the
guest is ignored. MODE applies to the last directory only; missing parents get 755.

\b
Examples:
  $ phoenixctl mkdir web1:/srv/site
  $ phoenixctl mkdir -p -m 750 web1:/srv/www/site/static
""",
)
@PATHS
@click.option("-p", "--parents", is_flag=True, help="Make missing parents; accept an existing directory.")
@click.option("-m", "--mode", metavar="MODE", help="Permissions of the directory. Default: 755.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], parents: bool, mode: str | None) -> int:
    """Make directories in the guest, as mkdir(1) does."""
    permissions = _DEFAULT if mode is None else Mode.parse(mode).apply(_START, True)

    async def work(guest: Guest, path: str) -> None:
        await guest.files.mkdir(path, permissions, parents)

    return each_path(options, paths, work, lambda path, _: ({"path": path}, ""))
