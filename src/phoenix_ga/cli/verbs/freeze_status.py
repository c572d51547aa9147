"""`phoenixctl freeze-status`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeStatus, Guest

# Why a freeze ended without a thaw.
_REASONS = {
    "deadline": ", automatically after the time limit of the freeze",
    "died": ", because the agent was killed while frozen",
}


@verb(
    short_help="Show whether filesystems are frozen.",
    epilog="""\b
Prints `frozen` and the time until the automatic thaw, or `thawed` and the reason unless a client
thawed. The exit status is 0 in both cases.

\b
Example:
  $ phoenixctl freeze-status web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Show whether the filesystems of the guest are frozen."""
    from dataclasses import asdict

    async def work(connected: Guest) -> FreezeStatus:
        return await connected.filesystems.status()

    return each_guest(options, guest, work, lambda details: (asdict(details), _describe(details)))


def _describe(details: FreezeStatus) -> str:
    if details.frozen:
        return "frozen" + ("" if details.remaining is None else f", automatic thaw in {details.remaining} s")
    return "thawed" + _REASONS.get(details.ended, "")
