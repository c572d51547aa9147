"""`phoenixctl mv`"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.completion import complete_guest_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.paths import guest_path, split_guest_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Rename files and directories in the guest.",
    epilog="""\b
TARGET is a path in the same guest, with or without GUEST. If it is an existing directory, the
files keep their names in it. An existing file is replaced in one step. Nothing is copied: the
paths must be on one filesystem.

\b
Examples:
  $ phoenixctl mv web1:/srv/site /srv/site.old
  $ phoenixctl mv web1:/srv/site.old /srv/www/site/
""",
)
@PATHS
@click.argument("target", shell_complete=complete_guest_path)
@click.option("-T", "--no-target-directory", "exact", is_flag=True, help="Treat TARGET as the new path itself.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], target: str, exact: bool) -> int:
    """Rename files and directories in the guest, as mv(1) does."""
    place = split_guest_path(target)
    if place is not None and any(guest_path(word)[0] != place[0] for word in paths):
        raise click.UsageError("TARGET must be in the guest of the files; use cp to copy between guests.")
    new = target if place is None else place[1]
    if not new.startswith("/"):
        raise click.UsageError(f"TARGET {new!r} must be an absolute path.")
    if exact and len(paths) > 1:
        raise click.UsageError("With -T, only one file can be renamed.")

    async def work(guest: Guest, path: str) -> str:
        into = not exact and (len(paths) > 1 or new.endswith("/") or await _is_directory(guest, new))
        final = posixpath.join(new, posixpath.basename(path.rstrip("/"))) if into else new
        await guest.files.rename(path, final)
        return final

    return each_path(options, paths, work, lambda path, final: ({"path": path, "target": final}, ""))


async def _is_directory(guest: Guest, path: str) -> bool:
    from phoenix_ga.client import CommandError

    try:
        return (await guest.files.stat(path, follow=True)).is_directory
    except CommandError as error:
        if isinstance(error, FileNotFoundError):
            return False
        raise
