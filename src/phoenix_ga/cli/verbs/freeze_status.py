"""`phoenixctl freeze-status`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.path_completion import complete_guest

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeDetails, Guest

# How a freeze may have ended that nobody thawed.
_REASONS = {
    "deadline": ", because its deadline came before a thaw",
    "died": ", because the agent in it died meanwhile",
}


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
def command(options: Options, guest: str) -> int:
    """Tell whether the filesystems of the guest are frozen."""

    async def work(connected: Guest) -> FreezeDetails:
        return await connected.get_freeze_details()

    return each_guest(options, guest, work, lambda details: (asdict(details), _describe(details)))


def _describe(details: FreezeDetails) -> str:
    if details.frozen:
        return "frozen" + ("" if details.remaining is None else f", until thaw or for {details.remaining} s")
    return "thawed" + _REASONS.get(details.ended, "")
