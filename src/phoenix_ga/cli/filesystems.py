"""The verbs `freeze`, `thaw` and `freeze-status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


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
@click.pass_obj
def freeze(options: Options, guest: str) -> int:
    """Sync and freeze the filesystems of the guest, for a snapshot."""

    async def work(connected: Guest) -> None:
        from phoenix_ga.client import GuestTimeout

        try:
            await connected.fs_freeze()
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
Prints `frozen` or `thawed`; the exit status is 0 for both.

\b
Example:
  $ phoenixctl freeze-status unix:/run/web1.sock
""",
)
@click.argument("guest")
@click.pass_obj
def freeze_status(options: Options, guest: str) -> int:
    """Tell whether the filesystems of the guest are frozen."""

    async def work(connected: Guest) -> bool:
        return await connected.get_freeze_status()

    return options.each(guest, work, lambda frozen: ({"frozen": frozen}, "frozen" if frozen else "thawed"))
