"""`phoenixctl truncate`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.numbers import parse_size
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Set the size of files in the guest.",
    epilog="""\b
SIZE is in bytes; the suffixes K, M, G and T are powers of 1024. Data beyond SIZE is lost. A file
that grows gets a hole. A missing file is created, unless -c is given.

\b
Examples:
  $ phoenixctl truncate -s 0 web1:/var/log/site.log
  $ phoenixctl truncate -s 10G web1:/srv/disk.img
""",
)
@PATHS
@click.option("-s", "--size", metavar="SIZE", required=True, help="The new size.")
@click.option("-c", "--no-create", is_flag=True, help="Do not create missing files.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], size: str, no_create: bool) -> int:
    """Set the size of files in the guest, as truncate(1) does."""
    length = parse_size(size)

    async def work(guest: Guest, path: str) -> None:
        try:
            await guest.files.truncate(path, length)
        except FileNotFoundError:
            if no_create:
                return
            async with guest.open(path, "wb"):
                pass
            await guest.files.truncate(path, length)

    return each_path(options, paths, work, lambda path, _: ({"path": path}, ""))
