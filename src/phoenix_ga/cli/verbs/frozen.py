"""`phoenixctl frozen`"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import NOT_HELD, about_guest, complain
from phoenix_ga.cli.freezing import AUTO_THAW, MOUNTPOINTS, show_progress, skipped_text
from phoenix_ga.cli.output import to_json
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import select
from phoenix_ga.cli.verb import CommandVerb, host_command, verb

if TYPE_CHECKING:
    from phoenix_ga.client import Frozen, Guest
    from phoenix_ga.client.discovery import KnownGuest


@verb(
    CommandVerb,
    short_help="Run a command of this host while guests are frozen.",
    epilog="""\b
All guests are frozen before the command starts, or none: then the command is not run. They are
thawed when it has ended, also if a signal ends phoenixctl; if phoenixctl is killed, the guests
thaw after --auto-thaw.

\b
The exit status is that of the command if all guests were frozen from before it began until after
it ended. If not, it is 123, and a line on stderr tells which guest was thawed and why: what the
command has made is not consistent then.

\b
Examples:
  $ phoenixctl frozen web1 -- ./take-snapshot web1
  $ phoenixctl frozen --auto-thaw 60 --mountpoint / web1 -- ./take-snapshot web1
""",
)
@click.argument(
    "guests", metavar="GUEST... -- COMMAND [ARG]...", nargs=-1, required=True, shell_complete=complete_guest
)
@AUTO_THAW
@MOUNTPOINTS
@click.pass_obj
def command(options: Options, guests: tuple[str, ...], auto_thaw: int | None, mountpoints: tuple[str, ...]) -> int:
    """Freeze guests, run a command of this host, and thaw them.

    Fails unless the guests were frozen all the time.
    """
    known = select(",".join(guests))
    argv = host_command()
    return run(_run_frozen(options, known, auto_thaw, mountpoints, argv))


async def _run_frozen(
    options: Options,
    known: list[KnownGuest],
    auto_thaw: int | None,
    mountpoints: tuple[str, ...],
    argv: list[str],
) -> int:
    from phoenix_ga.cli.host_process import run_host_command
    from phoenix_ga.client import FreezeNotHeldError, freeze_group

    frozen: Frozen | None = None
    status = None
    reasons: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        connected = await _connect_all(options, known, stack)
        seconds = -1 if auto_thaw is None else auto_thaw
        try:
            async with freeze_group(
                connected, auto_thaw=seconds, mountpoints=mountpoints, progress=show_progress(options)
            ) as frozen:
                for name, freeze in frozen.freezes.items():
                    for each in freeze.skipped:
                        complain(f"{skipped_text(each)}", guest=name)
                status = await run_host_command(argv)
        except FreezeNotHeldError as error:
            reasons = error.reasons
    for name, text in reasons.items():
        use = "; do not use what the command has made" if status is not None else "; the command was not run"
        complain(text + use, NOT_HELD, name)
    if options.json:
        click.echo(to_json(_as_json(frozen, status, reasons)), err=True)
    return NOT_HELD if reasons or status is None else status


async def _connect_all(options: Options, known: list[KnownGuest], stack: AsyncExitStack) -> list[Guest]:
    """Connect to all guests in parallel; they are closed with `stack`."""
    import asyncio

    async def connect(guest: KnownGuest) -> Guest:
        with about_guest(guest.name):
            return await stack.enter_async_context(options.connect_among(guest))

    tasks = [asyncio.ensure_future(connect(guest)) for guest in known]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _as_json(frozen: Frozen | None, status: int | None, reasons: dict[str, str]) -> dict[str, Any]:
    freezes = {} if frozen is None else frozen.freezes
    guests = {
        name: {
            "generation": freeze.generation,
            "filesystems": freeze.filesystems,
            "skipped": [{"mountpoint": each.mountpoint, "reason": each.reason} for each in freeze.skipped],
            "held": name not in reasons,
            "blocked": frozen.blocked.get(name) if frozen is not None else None,
        }
        for name, freeze in freezes.items()
    }
    return {"held": not reasons and status is not None, "status": status, "guests": guests}
