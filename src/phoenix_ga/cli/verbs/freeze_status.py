"""`phoenixctl freeze-status`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeStatus, Guest

# Why a freeze ended without a thaw.
_REASONS = {
    "released": ", by a thaw that proves that the freeze held until then",
    "broken": ", in part by another program before the thaw",
    "deadline": ", automatically after the time limit of the freeze",
    "died": ", because the agent was killed while frozen",
}


@verb(
    short_help="Show whether filesystems are frozen.",
    epilog="""\b
Prints `frozen` and the time until the automatic thaw, or `thawed` and the reason unless a client
thawed; then the generation of the last freeze, when everything was frozen, and when the thaw
began, by the guest's clock. The exit status is 0 in all cases.

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
    if details.stage:
        return f"being frozen: {escape(details.stage)}"
    if details.frozen:
        text = "frozen" + ("" if details.remaining is None else f", automatic thaw in {details.remaining} s")
    else:
        text = "thawed" + _REASONS.get(details.ended, "")
    if details.generation:
        text += f"\ngeneration {escape(details.generation)}"
        if details.since:
            text += f", frozen since {_time(details.since)}"
        if details.until:
            text += f" until {_time(details.until)}"
        text += f", writers blocked for {details.blocked / 1000:.3f} s"
    return text


def _time(milliseconds: int) -> str:
    """Return a time of the guest's clock, which may be any number."""
    from datetime import datetime, timezone

    try:
        return datetime.fromtimestamp(milliseconds // 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"
