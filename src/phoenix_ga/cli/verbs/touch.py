"""`phoenixctl touch`"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Set the times of files in the guest.",
    epilog="""\b
A missing file is created, empty, unless -c is given. TIME is in the time zone of this host; the
default is the present time of the guest.

\b
Examples:
  $ phoenixctl touch web1:/run/reload
  $ phoenixctl touch -d '2026-01-31 12:00' web1:/run/reload
""",
)
@PATHS
@click.option("-c", "--no-create", is_flag=True, help="Do not create missing files.")
@click.option("-d", "--date", metavar="TIME", help="Access and modification time: YYYY-MM-DD[ HH:MM[:SS]].")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], no_create: bool, date: str | None) -> int:
    """Set the access and modification time of files in the guest, as touch(1) does."""
    modified = -1 if date is None else parse_time(date)

    async def work(guest: Guest, path: str) -> None:
        try:
            await guest.files.touch(path, modified, not no_create)
        except FileNotFoundError:
            if not no_create:
                raise

    return each_path(options, paths, work, lambda path, _: ({"path": path}, ""))


def parse_time(text: str) -> int:
    """Return a local time in nanoseconds since the epoch. Raises UsageError."""
    try:
        # In microseconds, because a float of nanoseconds would be rounded.
        return round(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError, OSError):
        raise click.UsageError(f"TIME {text!r} is not of the form YYYY-MM-DD[ HH:MM[:SS]].") from None
