"""`phoenixctl md5sum`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.digest import digest_result, with_digest_timeout
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.paths import PATHS

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@click.command(
    epilog="""\b
Example:
  $ phoenixctl md5sum unix:/run/web1.sock:/bin/ls
"""
)
@PATHS
@click.pass_obj
def command(options: Options, paths: tuple[str, ...]) -> int:
    """Print the MD5 of paths of the guest, which computes them."""

    async def work(guest: Guest, path: str) -> str:
        return await (await with_digest_timeout(options, guest, path)).get_file_md5sum(path)

    return each_path(options, paths, work, lambda path, digest: digest_result("md5", path, digest))
