"""`phoenixctl thaw`"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import NOT_HELD, exit_status_by_errno
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
@click.option(
    "--generation",
    default="",
    metavar="HEX",
    help="Thaw only this freeze, and fail with status 123 if it did not hold until now.",
)
@click.pass_obj
def command(options: Options, guest: str, generation: str) -> int:
    """Thaw the filesystems of the guest."""

    async def work(connected: Guest) -> None:
        with exit_status_by_errno({errno.ESTALE: NOT_HELD}):
            await connected.filesystems.thaw(generation)

    return each_guest(options, guest, work, lambda _: ({"frozen": False}, "thawed"))
