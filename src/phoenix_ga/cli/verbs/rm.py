"""`phoenixctl rm`"""

from __future__ import annotations

from errno import EISDIR
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Remove files and directories in the guest.",
    epilog="""\b
A symbolic link is removed, not followed. Nothing is asked.

\b
Examples:
  $ phoenixctl rm -f web1:/srv/www/index.html.old
  $ phoenixctl rm -r web1:/srv/www/site/site.old
""",
)
@PATHS
@click.option("-d", "--dir", "directories", is_flag=True, help="Remove empty directories too.")
@click.option("-r", "-R", "--recursive", is_flag=True, help="Remove directories with their contents.")
@click.option("-f", "--force", is_flag=True, help="Ignore missing files.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], directories: bool, recursive: bool, force: bool) -> int:
    """Remove files and directories in the guest, as rm(1) does."""
    from phoenix_ga.client import CommandError
    from phoenix_ga.client.errors import command_error

    async def work(guest: Guest, path: str) -> None:
        try:
            if not (directories or recursive) and (await guest.files.stat(path)).is_directory:
                raise command_error(f"{path}: Is a directory; use -r", EISDIR, None)
            await guest.files.remove(path, recursive=recursive)
        except CommandError as error:
            if not (force and isinstance(error, FileNotFoundError)):
                raise

    return each_path(options, paths, work, lambda path, _: ({"path": path}, ""))
