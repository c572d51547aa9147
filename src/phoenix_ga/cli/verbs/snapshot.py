"""`phoenixctl snapshot`"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import NOT_HELD, about_guest, complain
from phoenix_ga.cli.freezing import AUTO_THAW, show_progress
from phoenix_ga.cli.output import escape, size
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import select
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest
    from phoenix_ga.client.snapshots.model import DiskControl, Kind
    from phoenix_ga.client.snapshots.take import Snapshots

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@verb(
    short_help="Snapshot the disks of guests while they are frozen.",
    epilog="""\b
The guests are frozen, all or none; all writable disks are snapshotted at one moment; the guests
are thawed, and it is checked that they were frozen all the time. If not, the snapshots are
removed again, and the exit status is 123.

\b
Give one of:
  --external DIR    New files in DIR take all further writes; the old ones do not change any more
                    and can be copied.
  --internal        Snapshots inside the qcow2 files of the disks.
  --backup DIR      Copies of the disks in DIR. With --bitmap NAME, the first time all data, and
                    later only what was written since the last time.

\b
Works with guests of libvirt (--external only), and with those whose QEMU has a QMP socket, which
is found in its command line or given with --qmp. DIR/NAME.json tells what was made; while it
says "unfinished", an interrupted snapshot may have left new files in use.

\b
Examples:
  $ phoenixctl snapshot --qmp /run/web1.qmp --external . web1
  $ phoenixctl snapshot --qmp /run/web1.qmp --external . --name before-upgrade --no-freeze web1
""",
)
@click.argument("guests", metavar="GUEST...", nargs=-1, required=True, shell_complete=complete_guest)
@click.option(
    "--external", type=click.Path(path_type=Path), metavar="DIR", help="Let new files in DIR take all writes."
)
@click.option("--internal", is_flag=True, help="Make snapshots inside the qcow2 files of the disks.")
@click.option("--backup", type=click.Path(path_type=Path), metavar="DIR", help="Copy the disks to new files in DIR.")
@click.option(
    "--bitmap", default="", metavar="NAME", help="With --backup: copy only what changed since the last time."
)
@click.option("--disk", "disks", multiple=True, metavar="NAME", help="Only this disk; can be repeated. Default: all.")
@click.option("--name", default="", metavar="NAME", help="Name of the snapshot. Default: the date and time.")
@click.option("--qmp", default="", metavar="PATH", help="QMP socket of the guest, if it is not found.")
@click.option("--no-freeze", is_flag=True, help="Do not freeze: the snapshots are as after a power failure.")
@AUTO_THAW
@click.pass_obj
def command(
    options: Options,
    guests: tuple[str, ...],
    external: Path | None,
    internal: bool,
    backup: Path | None,
    bitmap: str,
    disks: tuple[str, ...],
    name: str,
    qmp: str,
    no_freeze: bool,
    auto_thaw: int | None,
) -> int:
    """Snapshot the disks of guests, consistently or not at all."""
    kind = _kind(external, internal, backup, bitmap, disks, name)
    known = select(",".join(guests))
    if qmp and len(known) > 1:
        raise click.UsageError("--qmp is for one guest.")
    return run(_snapshot(options, known, kind, qmp, not no_freeze, -1 if auto_thaw is None else auto_thaw))


def _kind(
    external: Path | None, internal: bool, backup: Path | None, bitmap: str, disks: tuple[str, ...], name: str
) -> Kind:
    from datetime import datetime

    from phoenix_ga.client.snapshots.model import BACKUP, EXTERNAL, INTERNAL, Kind

    if (external is not None) + internal + (backup is not None) != 1:
        raise click.UsageError("Give one of --external, --internal and --backup.")
    if bitmap and backup is None:
        raise click.UsageError("--bitmap goes with --backup.")
    directory = external or backup
    if directory is not None and not directory.is_dir():
        raise click.UsageError(f"{directory} is not a directory.")
    name = name or datetime.now().strftime("%Y%m%d-%H%M%S")
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} cannot be a name: use letters, digits and ._-")
    kind = EXTERNAL if external is not None else BACKUP if backup is not None else INTERNAL
    return Kind(kind, name, directory.absolute() if directory is not None else None, bitmap, disks)


async def _snapshot(
    options: Options, known: list[KnownGuest], kind: Kind, qmp: str, freeze: bool, auto_thaw: int
) -> int:
    from phoenix_ga.client import FreezeNotHeldError
    from phoenix_ga.client.snapshots.take import GuestSnapshot, Snapshots

    async with AsyncExitStack() as stack:
        guests = []
        for each in known:
            with about_guest(each.name):
                control = await _control(each, kind, qmp)
                stack.push_async_callback(control.close)
                guest = await stack.enter_async_context(options.connect_among(each)) if freeze else None
                guests.append(GuestSnapshot(each.name, guest, control))
        snapshots = Snapshots(kind, guests, auto_thaw=auto_thaw, progress=show_progress(options), note=complain)
        try:
            await snapshots.take()
        except FreezeNotHeldError as error:
            for name, text in error.reasons.items():
                complain(f"{text}; no snapshot is left", NOT_HELD, name)
            return NOT_HELD
    options.show(snapshots.manifest, _as_text(snapshots))
    return 0


async def _control(known: KnownGuest, kind: Kind, qmp: str) -> DiskControl:
    from phoenix_ga.client import SnapshotError
    from phoenix_ga.client.snapshots.libvirt import LibvirtDisks
    from phoenix_ga.client.snapshots.qemu import QemuDisks
    from phoenix_ga.client.snapshots.qmp import Qmp

    if known.source == "libvirt":
        return LibvirtDisks(known.name.partition("@")[0], known.name, kind)
    path = qmp or known.qmp
    if not path:
        raise SnapshotError("its QEMU has no QMP socket that is known; give one with --qmp")
    return QemuDisks(await Qmp.connect(path, () if qmp else known.owners), known.name, kind)


def _as_text(snapshots: Snapshots) -> str:
    lines = [f"snapshot {snapshots.kind.name}: {snapshots.verdict}"]
    for each in snapshots.guests:
        if each.blocked is not None:
            lines.append(f"{escape(each.name)}: writers stood still for {each.blocked / 1000:.3f} s")
        for disk in each.plan.snapshots:
            text = f"{each.name}: {disk.disk}"
            text += f" ({size(disk.size)})" if disk.size >= 0 else ""
            text += f" -> {disk.file}" if disk.file else ""
            lines.append(escape(text + (", incremental" if disk.incremental else "")))
        lines += [escape(f"{each.name}: {disk.disk} skipped: {disk.reason}") for disk in each.plan.skipped]
    return "\n".join(lines)
