"""`phoenixctl grow`"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import REFUSED
from phoenix_ga.cli.output import escape, size, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import GrowthPlan, Guest

# Seconds: the programs of all steps together; the agent gives each 15 minutes.
_PATIENCE: Final = 3600.0


@verb(
    short_help="Grow a filesystem after its disk was enlarged.",
    epilog="""\b
Enlarge the disk first, as with `virsh blockresize`. TARGET is the mount point of a filesystem,
or a disk such as vda, of which the last filesystem grows. Default: /. The partition, LUKS, LVM
and the filesystem grow, whichever there are. If something is in the way, such as a partition
behind it, nothing is changed, and the exit status is 1.

\b
Examples:
  $ phoenixctl grow --dry-run web1
  $ phoenixctl grow web1 /
""",
)
@GUEST
@click.argument("target", default="/", metavar="[DISK|MOUNT]")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the passphrase of LUKS from the first line of stdin.")
@click.pass_obj
def command(options: Options, guest: str, target: str, dry_run: bool, from_stdin: bool) -> int:
    """Grow a filesystem of the guest, and what it is on, as far as its disk allows."""
    given = sys.stdin.readline().rstrip("\n") if from_stdin else ""
    options = replace(options, answer_timeout=_PATIENCE)

    async def work(connected: Guest) -> GrowthPlan:
        passphrase = given
        if not (dry_run or passphrase):
            plan = await connected.filesystems.grow(target, dry_run=True)
            if plan.locked and sys.stdin.isatty():
                prompt = f"Passphrase of {escape(plan.locked[0])}"
                passphrase = click.prompt(prompt, hide_input=True, err=True)
        return await connected.filesystems.grow(target, dry_run=dry_run, passphrase=passphrase)

    return each_guest(options, guest, work, lambda plan: (asdict(plan), _as_text(plan, target, dry_run)), _judge)


def _judge(plan: GrowthPlan) -> int:
    return REFUSED if plan.refused or plan.failed else 0


def _as_text(plan: GrowthPlan, target: str, dry_run: bool) -> str:
    rows = [
        (step.layer, step.name, _size(step.before), _size(step.after), "grown" if step.done else "not grown")
        for step in plan.steps
    ]
    parts = [titled_table(("layer", "name", "size", "new size", "state"), rows, "")] if rows else []
    if dry_run:
        parts += [f"$ {escape(line)}" for step in plan.steps for line in step.commands]
    parts += [escape(note) for note in plan.notes]
    if plan.refused:
        parts.append(f"Nothing was changed: {escape(plan.refused)}")
    elif plan.failed:
        parts.append(f"It was not finished: {escape(plan.failed)}. Repeat it to go on from there.")
    elif not rows:
        parts.append(f"{escape(target)} uses all of its disk already")
    if plan.locked and dry_run:
        parts.append(f"It will need the passphrase of {escape(', '.join(plan.locked))}")
    return "\n".join(parts)


def _size(count: int) -> str:
    return size(min(max(count, 0), 2**63))
