"""`phoenixctl md5sum`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.digest import print_digests
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Print MD5 digests of files in the guest.",
    epilog="""\b
The guest computes the digest; the file is not transferred.

\b
Example:
  $ phoenixctl md5sum web1:/bin/ls
""",
)
@PATHS
@click.pass_obj
def command(options: Options, paths: tuple[str, ...]) -> int:
    """Print MD5 digests of files in the guest, as md5sum(1) does."""

    async def compute(guest: Guest, path: str) -> str:
        return await guest.files.md5(path)

    return print_digests(options, paths, "md5", compute)
