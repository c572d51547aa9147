"""`phoenixctl umount`"""

from __future__ import annotations

import click

from phoenix_ga.cli.verb import verb


@verb(
    short_help="Unmount what mount has mounted.",
    epilog="""\b
Example:
  $ mkdir -p www && phoenixctl mount web1:/srv/www www && phoenixctl umount www
""",
)
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path())
@click.option("-l", "--lazy", is_flag=True, help="Unmount also if files are open; they stay usable until closed.")
def command(directories: tuple[str, ...], lazy: bool) -> int:
    """Unmount directories of guests from this host."""
    from phoenix_ga.cli.mounting import unmount

    return max(unmount(directory.rstrip("/") or "/", lazy) for directory in directories)
