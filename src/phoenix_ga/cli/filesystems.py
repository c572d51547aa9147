"""The verbs `freeze`, `thaw` and `freeze-status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeDetails, Guest

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
Example:
  $ phoenixctl freeze unix:/run/web1.sock && ./take-snapshot web1; phoenixctl thaw unix:/run/web1.sock
""",
)
@click.argument("guest")
@click.option(
    "--deadline",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="The guest thaws by itself after so long; 0 for never. Without it, when the guest is configured to.",
)
@click.pass_obj
def freeze(options: Options, guest: str, deadline: int | None) -> int:
    """Sync and freeze the filesystems of the guest, for a snapshot."""

    async def work(connected: Guest) -> None:
        from phoenix_ga.client import GuestTimeout

        try:
            await connected.fs_freeze(deadline)
        except GuestTimeout as error:
            error.text += "; it may freeze all the same, so run phoenixctl thaw"
            raise

    return options.each(guest, work, lambda _: ({"frozen": True}, "frozen"))


@click.command(
    epilog="""\b
Example:
  $ phoenixctl thaw unix:/run/web1.sock
"""
)
@click.argument("guest")
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
@click.argument("guest")
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
