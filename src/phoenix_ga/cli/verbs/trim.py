"""`phoenixctl trim`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import REFUSED
from phoenix_ga.cli.output import size, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.generated.qga import GuestFilesystemTrimResult


@verb(
    short_help="Give unused blocks back to the host.",
    epilog="""\b
As fstrim(8) does for all filesystems. The disks of the virtual machine need discard=unmap.
The exit status is 1 if one filesystem could not be trimmed.

\b
Example:
  $ phoenixctl trim --timeout 600 web1
""",
)
@GUEST
@click.option(
    "--minimum",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="Leave shorter ranges of free blocks alone, which is faster.",
)
@click.pass_obj
def command(options: Options, guest: str, minimum: int) -> int:
    """Give the unused blocks of the guest's filesystems back to the host."""

    async def work(connected: Guest) -> list[GuestFilesystemTrimResult]:
        return (await connected.qga.fstrim(minimum or None))["paths"]

    return each_guest(options, guest, work, lambda paths: (paths, _as_text(paths)), _judge)


def _judge(paths: list[GuestFilesystemTrimResult]) -> int:
    return REFUSED if any("error" in path for path in paths) else 0


def _as_text(paths: list[GuestFilesystemTrimResult]) -> str:
    rows = [(path["path"], path.get("error") or size(path.get("trimmed", 0))) for path in paths]
    return titled_table(("filesystem", "trimmed"), rows, "no filesystem can be trimmed")
