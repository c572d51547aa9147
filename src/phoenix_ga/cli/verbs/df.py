"""`phoenixctl df`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import short_size, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.generated.qga import GuestFilesystemInfo


@verb(
    short_help="Show how full filesystems are.",
    epilog="""\b
Filesystems on disks are listed, as in df(1): `avail` is what users other than root can still
use. Sizes are in powers of 1024; --json has them in bytes.

\b
Example:
  $ phoenixctl df web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Show the filesystems of the guest, and how full they are."""

    async def work(connected: Guest) -> list[GuestFilesystemInfo]:
        return await connected.qga.get_fsinfo()

    return each_guest(options, guest, work, lambda found: (found, _as_text(found)))


def _as_text(found: list[GuestFilesystemInfo]) -> str:
    rows = [_row(each) for each in sorted(found, key=lambda each: each["mountpoint"])]
    return titled_table(("filesystem", "type", "size", "used", "avail", "use", "mounted on"), rows, "no filesystems")


def _row(found: GuestFilesystemInfo) -> tuple[str, ...]:
    place = (found["name"], found["type"])
    total, used = found.get("total-bytes"), found.get("used-bytes")
    if total is None or used is None:
        return (*place, "-", "-", "-", "-", found["mountpoint"])
    available = max(total - used, 0)
    share = f"{-(-100 * used // total)}%" if total else "-"
    return (*place, *map(short_size, (total, used, available)), share, found["mountpoint"])
