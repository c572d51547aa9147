"""`phoenixctl disks`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.generated.qga import GuestDiskInfo


@verb(
    short_help="List the block devices of the guest.",
    epilog="""\b
`serial` and `bus` tell which disk of the virtual machine a device is.

\b
Example:
  $ phoenixctl disks web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """List the block devices of the guest: disks, partitions, and what is made of them."""

    async def work(connected: Guest) -> list[GuestDiskInfo]:
        return await connected.qga.get_disks()

    return each_guest(options, guest, work, lambda found: (found, _as_text(found)))


def _as_text(found: list[GuestDiskInfo]) -> str:
    rows = [_row(each) for each in sorted(found, key=lambda each: each["name"])]
    return titled_table(("device", "kind", "bus", "serial", "depends on", "alias"), rows, "no block devices")


def _row(disk: GuestDiskInfo) -> tuple[str, ...]:
    address = disk.get("address")
    bus, serial = (address["bus-type"], address.get("serial", "-")) if address else ("-", "-")
    kind = "partition" if disk["partition"] else "disk"
    return disk["name"], kind, bus, serial, " ".join(disk.get("dependencies", [])) or "-", disk.get("alias", "-")
