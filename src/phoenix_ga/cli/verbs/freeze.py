"""`phoenixctl freeze`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.fanout import Work, fan_out
from phoenix_ga.cli.freezing import AUTO_THAW, MOUNTPOINTS, skipped_text
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.output import escape, size, table
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Freeze, FreezePlan, Guest, SkippedFilesystem
    from phoenix_ga.client.discovery import KnownGuest


@verb(
    short_help="Freeze the filesystems of the guest for a snapshot.",
    epilog="""\b
While frozen, the guest does not write to its disks, and the agent refuses most commands. If
freeze times out (status 124), the guest may still freeze: run thaw.

\b
If some of several guests cannot be frozen, the others stay frozen and are listed on stderr.
With --all-or-none, they are thawed again.

\b
phoenixctl frozen does all three of the example, and checks that the filesystems stay frozen.

\b
Example:
  $ phoenixctl freeze web1 && ./take-snapshot web1; phoenixctl thaw web1
""",
)
@GUEST
@AUTO_THAW
@MOUNTPOINTS
@click.option("--dry-run", is_flag=True, help="Show what would be frozen, in which order, and what would not.")
@click.option("--all-or-none", is_flag=True, help="If one guest cannot be frozen, thaw the others again.")
@click.pass_obj
def command(
    options: Options,
    guest: str,
    auto_thaw: int | None,
    mountpoints: tuple[str, ...],
    dry_run: bool,
    all_or_none: bool,
) -> int:
    """Sync and freeze the filesystems of the guest for a snapshot."""
    if dry_run:
        return each_guest(
            options,
            guest,
            lambda connected: connected.filesystems.plan(mountpoints),
            lambda plan: (asdict(plan), _describe_plan(plan)),
        )

    async def freeze(connected: Guest) -> Freeze:
        return await _freeze(connected, auto_thaw, mountpoints)

    if is_plain(guest):
        return each_guest(options, guest, freeze, _describe)

    from phoenix_ga.client import CommandError

    # Those that are frozen, or may be.
    frozen: dict[str, KnownGuest] = {}

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as connected:
            frozen[known.name] = known
            try:
                result = await freeze(connected)
            except CommandError:
                del frozen[known.name]
                raise
        await printer.result(*_describe(result))
        return DONE

    status = None
    try:
        status = fan_out(options, select(guest), on_one)
    finally:
        if status != 0 and frozen:
            if all_or_none:
                complain("not all guests were frozen; thawing the others")
                fan_out(options, list(frozen.values()), _thaw(options))
            else:
                complain(f"these guests are or may be frozen: {', '.join(frozen)}; run phoenixctl thaw")
    return status


def _thaw(options: Options) -> Work:
    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as connected:
            await connected.filesystems.thaw()
        await printer.result({"frozen": False}, "thawed")
        return DONE

    return on_one


async def _freeze(guest: Guest, auto_thaw: int | None, mountpoints: tuple[str, ...]) -> Freeze:
    from phoenix_ga.client import GuestTimeoutError

    try:
        return await guest.filesystems.freeze(-1 if auto_thaw is None else auto_thaw, mountpoints)
    except GuestTimeoutError as error:
        error.text += "; it may freeze nevertheless, so run phoenixctl thaw"
        raise


def _describe(freeze: Freeze) -> tuple[dict[str, Any], str]:
    text = "frozen" if freeze.generation else "nothing to freeze"
    text = "\n".join([text, *map(_skipped, freeze.skipped)])
    return {"frozen": bool(freeze.generation), **asdict(freeze)}, text


def _describe_plan(plan: FreezePlan) -> str:
    rows = [("mount point", "type", "devices")]
    rows += [(each.mountpoint, each.type, " ".join(each.devices)) for each in plan.filesystems]
    lines = [table(rows, indent="")] if plan.filesystems else ["nothing to freeze"]
    lines += [f"{escape(skipped_text(each))} ({escape(each.type)})" for each in plan.skipped]
    return "\n".join([*lines, f"not yet written to the disks: {size(plan.dirty)}"])


def _skipped(skipped: SkippedFilesystem) -> str:
    return escape(skipped_text(skipped))
