"""The verbs `freeze`, `thaw` and `freeze-status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.cli.selection import is_plain, select

if TYPE_CHECKING:
    from phoenix_ga.cli.fanout import Work
    from phoenix_ga.client import FreezeDetails, Guest
    from phoenix_ga.client.discovery import KnownGuest

# How a freeze may have ended that nobody thawed.
_REASONS = {
    "deadline": ", because its deadline came before a thaw",
    "died": ", because the agent in it died meanwhile",
}


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
    "--deadline",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="The guest thaws by itself after so long; 0 for never. Without it, when the guest is configured to.",
)
@click.option("--all-or-none", is_flag=True, help="Where one of several guests fails, thaw the others again.")
@click.pass_obj
def freeze(options: Options, guest: str, deadline: int | None, all_or_none: bool) -> int:
    """Sync and freeze the filesystems of the guest, for a snapshot."""
    if is_plain(guest):
        return options.each(guest, lambda there: _freeze(there, deadline), lambda _: ({"frozen": True}, "frozen"))

    from phoenix_ga.cli.tally import DONE, Outcome
    from phoenix_ga.cli.voice import Voice
    from phoenix_ga.client import GuestRefused

    # Those that froze, or may have.
    frozen: dict[str, KnownGuest] = {}

    async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
        async with options.connect_among(known) as connected:
            frozen[known.name] = known
            try:
                await _freeze(connected, deadline)
            except GuestRefused:
                del frozen[known.name]
                raise
        await voice.result({"frozen": True}, "frozen")
        return DONE

    status = None
    try:
        status = options.fan_out(select(guest), on_one)
    finally:
        if status != 0 and frozen:
            if all_or_none:
                complain("not all could be frozen; thawing the others")
                options.fan_out(list(frozen.values()), _thaw_again(options))
            else:
                complain(f"frozen now, or may be: {', '.join(frozen)}; run phoenixctl thaw")
    return status


def _thaw_again(options: Options) -> Work:
    from phoenix_ga.cli.tally import DONE, Outcome
    from phoenix_ga.cli.voice import Voice

    async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
        async with options.connect_among(known) as connected:
            await connected.fs_unfreeze()
        await voice.result({"frozen": False}, "thawed")
        return DONE

    return on_one


async def _freeze(guest: Guest, deadline: int | None) -> None:
    from phoenix_ga.client import GuestTimeout

    try:
        await guest.fs_freeze(deadline)
    except GuestTimeout as error:
        error.text += "; it may freeze all the same, so run phoenixctl thaw"
        raise


@click.command(
    epilog="""\b
Example:
  $ phoenixctl thaw unix:/run/web1.sock
"""
)
@click.argument("guest", shell_complete=complete_guest)
@click.pass_obj
def thaw(options: Options, guest: str) -> int:
    """Thaw the filesystems of the guest. Nothing frozen is fine."""

    async def work(connected: Guest) -> None:
        await connected.fs_unfreeze()

    return options.each(guest, work, lambda _: ({"frozen": False}, "thawed"))


@click.command(
    short_help="Tell whether filesystems are frozen.",
    epilog="""\b
Prints `frozen`, `thawed`, or why a freeze ended though nobody thawed; the exit status is 0 for all.

\b
Example:
  $ phoenixctl freeze-status unix:/run/web1.sock
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.pass_obj
def freeze_status(options: Options, guest: str) -> int:
    """Tell whether the filesystems of the guest are frozen."""

    async def work(connected: Guest) -> FreezeDetails:
        return await connected.get_freeze_details()

    return options.each(guest, work, lambda details: (asdict(details), _describe(details)))


def _describe(details: FreezeDetails) -> str:
    if details.frozen:
        return "frozen" + ("" if details.remaining is None else f", until thaw or for {details.remaining} s")
    return "thawed" + _REASONS.get(details.ended, "")
