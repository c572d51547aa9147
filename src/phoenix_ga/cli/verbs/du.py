"""`phoenixctl du`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape, short_size
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

_BLOCK = 512


@verb(
    short_help="Show how much directories take.",
    epilog="""\b
Each directory is listed with the sum of what is in it, inner ones first. Symbolic links are not
followed, except the path itself; files with several links count once. Sizes are in powers of
1024, unless -b is given. If a directory cannot be read, the rest is counted, and the exit status
is 1.

\b
Examples:
  $ phoenixctl du -s web1:/var/log web1:/srv
  $ phoenixctl du -x -d 1 web1:/
""",
)
@PATHS
@click.option("-s", "--summarize", is_flag=True, help="Print the sum for each path only.")
@click.option("-d", "--max-depth", "depth", metavar="N", type=click.IntRange(0), help="Deepest level to print.")
@click.option("-x", "--one-file-system", "one_filesystem", is_flag=True, help="Leave out other filesystems.")
@click.option("-A", "--apparent-size", "apparent", is_flag=True, help="Add up sizes, not blocks on the disk.")
@click.option("-b", "--bytes", "exact", is_flag=True, help="Print numbers of bytes.")
@click.pass_obj
def command(
    options: Options,
    paths: tuple[str, ...],
    summarize: bool,
    depth: int | None,
    one_filesystem: bool,
    apparent: bool,
    exact: bool,
) -> int:
    """Show how much directories of the guest take, as du(1) does."""
    from phoenix_ga.cli.walking import print_entries

    if summarize and depth is not None:
        raise click.UsageError("--summarize and --max-depth exclude each other.")
    level = 0 if summarize else -1 if depth is None else depth

    def describe(entry: FileStatus) -> tuple[Any, str]:
        taken = max(entry.blocks * _BLOCK, 0)
        size = max(entry.size, 0) if apparent else taken
        shown = str(size) if exact else short_size(size)
        return {"path": entry.name, "bytes": taken, "apparent": entry.size}, f"{shown:<8}{escape(entry.name)}"

    def start(guest: Guest, path: str) -> Any:
        return guest.files.usage(path, depth=level, one_filesystem=one_filesystem)

    return print_entries(options, paths, start, describe)
