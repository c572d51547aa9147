"""`phoenixctl freeze`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import DONE, Outcome

if TYPE_CHECKING:
    from phoenix_ga.cli.fanout import Work
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest


@click.command(
    short_help="Sync and freeze the filesystems.",
    epilog="""\b
Until `thaw`, the guest writes nothing to its disks and most commands are refused. Where no
answer came in time, the guest may freeze all the same: ask `freeze-status`, and `thaw`.

\b
Of several guests, those that froze stay frozen where others fail, and are named on stderr; the
exit status is not 0 then. With --all-or-none they are thawed again.

\b
Example:
  $ phoenixctl freeze unix:/run/web1.sock && ./take-snapshot web1; phoenixctl thaw unix:/run/web1.sock
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.option(
    "--auto-thaw",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="The guest thaws by itself after so long; 0 for never. Without it, when the guest is configured to.",
)
@click.option("--all-or-none", is_flag=True, help="Where one of several guests fails, thaw the others again.")
@click.pass_obj
def command(options: Options, guest: str, auto_thaw: int | None, all_or_none: bool) -> int:
    """Sync and freeze the filesystems of the guest, for a snapshot."""
    if is_plain(guest):
        return each_guest(
            options, guest, lambda there: _freeze(there, auto_thaw), lambda _: ({"frozen": True}, "frozen")
        )

    from phoenix_ga.client import GuestRefused

    # Those that froze, or may have.
    frozen: dict[str, KnownGuest] = {}

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as connected:
            frozen[known.name] = known
            try:
                await _freeze(connected, auto_thaw)
            except GuestRefused:
                del frozen[known.name]
                raise
        await printer.result({"frozen": True}, "frozen")
        return DONE

    status = None
    try:
        status = fan_out(options, select(guest), on_one)
    finally:
        if status != 0 and frozen:
            if all_or_none:
                complain("not all could be frozen; thawing the others")
                fan_out(options, list(frozen.values()), _thaw_again(options))
            else:
                complain(f"frozen now, or may be: {', '.join(frozen)}; run phoenixctl thaw")
    return status


def _thaw_again(options: Options) -> Work:
    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as connected:
            await connected.fs_unfreeze()
        await printer.result({"frozen": False}, "thawed")
        return DONE

    return on_one


async def _freeze(guest: Guest, auto_thaw: int | None) -> None:
    from phoenix_ga.client import GuestTimeout

    try:
        await guest.fs_freeze(auto_thaw)
    except GuestTimeout as error:
        error.text += "; it may freeze all the same, so run phoenixctl thaw"
        raise
