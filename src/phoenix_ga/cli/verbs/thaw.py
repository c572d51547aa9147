"""`phoenixctl thaw`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    epilog="""\b
It is not an error if nothing is frozen.

\b
Example:
  $ phoenixctl thaw web1
"""
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Thaw the filesystems of the guest."""

    async def work(connected: Guest) -> None:
        await connected.filesystems.thaw()

    return each_guest(options, guest, work, lambda _: ({"frozen": False}, "thawed"))
