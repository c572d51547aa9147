"""`phoenixctl memory`"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import size, table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import CommandError, Guest
    from phoenix_ga.client.models import Memory, Swap


class _Found(NamedTuple):
    """memory, swap: in KiB. block: size of a memory block in bytes; 0 if there are none."""

    memory: Memory
    swap: Swap
    block: int
    online: int
    blocks: int


@verb(
    short_help="Show the memory of the guest, or take all of it online.",
    epilog="""\b
Memory that was added to a running virtual machine is used once its blocks are online.

\b
Examples:
  $ phoenixctl memory web1
  $ phoenixctl memory web1 --online
""",
)
@GUEST
@click.option("--online", is_flag=True, help="Take all memory blocks online.")
@click.pass_obj
def command(options: Options, guest: str, online: bool) -> int:
    """Show the memory of the guest and its memory blocks."""

    async def work(connected: Guest) -> _Found:
        return await _look(connected, online)

    return each_guest(options, guest, work, lambda found: (_as_json(found), _as_text(found)))


async def _look(guest: Guest, online: bool) -> _Found:
    from phoenix_ga.client import CommandError

    try:
        block = (await guest.qga.get_memory_block_info())["size"]
        blocks = await guest.qga.get_memory_blocks()
        offline = [each for each in blocks if not each["online"]]
        if online and offline:
            await guest.qga.set_memory_blocks(
                [{"phys-index": each["phys-index"], "online": True} for each in offline]
            )
            blocks = await guest.qga.get_memory_blocks()
    except CommandError as error:
        if online or not _is_missing(error):
            raise
        block, blocks = 0, []
    system = await guest.sysinfo()
    return _Found(system.memory, system.swap, block, sum(each["online"] for each in blocks), len(blocks))


def _is_missing(error: CommandError) -> bool:
    """Return whether the guest has no memory blocks, as without memory hot-plug in its kernel."""
    return error.error_class in ("GenericError", "CommandNotFound")


def _as_json(found: _Found) -> dict[str, int]:
    return {
        "total": found.memory.total * 1024,
        "free": found.memory.free * 1024,
        "swap_total": found.swap.total * 1024,
        "swap_free": found.swap.free * 1024,
        "block_size": found.block,
        "blocks": found.blocks,
        "blocks_online": found.online,
    }


def _as_text(found: _Found) -> str:
    rows = [
        ("memory", f"{size(found.memory.total * 1024)}, {size(found.memory.free * 1024)} free"),
        ("swap", f"{size(found.swap.total * 1024)}, {size(found.swap.free * 1024)} free"),
    ]
    if found.blocks:
        rows.append(("blocks", f"{found.online} of {found.blocks} online, {size(found.block)} each"))
    return table(rows, indent="")
