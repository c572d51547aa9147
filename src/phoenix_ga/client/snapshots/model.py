"""What is to be snapshotted, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from phoenix_ga.client.errors import SnapshotError

EXTERNAL: Final = "external"
INTERNAL: Final = "internal"
BACKUP: Final = "backup"


@dataclass(frozen=True)
class Kind:
    """How to make snapshots.

    Attributes:
        kind: EXTERNAL: new files take all further writes; INTERNAL: inside the disks' own files; BACKUP: copies.
        name: of the snapshot.
        directory: of the new files; None for INTERNAL.
        bitmap: BACKUP only: name of a dirty bitmap. The first backup copies everything and starts the bitmap, later
            ones copy what was written since. Empty: copy everything.
        disks: names of the disks; empty: all that are writable.
    """

    kind: str
    name: str
    directory: Path | None = None
    bitmap: str = ""
    disks: tuple[str, ...] = ()

    def file(self, guest: str, disk: str) -> Path:
        """Return the new file for a disk."""
        assert self.directory is not None
        words = (re.sub(r"[^\w.-]", "_", word.removeprefix("unix:").rpartition("/")[2]) for word in (guest, disk))
        return self.directory / f"{self.name}-{'-'.join(words)}.qcow2"


@dataclass
class DiskSnapshot:
    """The snapshot of a disk.

    Attributes:
        disk: name of the disk.
        source: its file before the snapshot; empty if unknown.
        size: that the guest sees, in bytes; -1 if unknown.
        file: the new file; empty for an internal snapshot.
        incremental: a backup of what was written since the last one only.
    """

    disk: str
    source: str
    size: int
    file: str = ""
    incremental: bool = False


@dataclass
class SkippedDisk:
    """A disk without a snapshot, and why."""

    disk: str
    reason: str


@dataclass
class DiskPlan:
    """The disks of a guest."""

    snapshots: list[DiskSnapshot] = field(default_factory=list)
    skipped: list[SkippedDisk] = field(default_factory=list)

    def select(self, kind: Kind) -> None:
        """Skip the disks that were not asked for. Raises SnapshotError if one of those does not exist."""
        known = {each.disk for each in self.snapshots}
        missing = [disk for disk in kind.disks if disk not in known]
        if missing:
            reason = next((each.reason for each in self.skipped if each.disk == missing[0]), "")
            text = f": {reason}" if reason else f"; it has: {', '.join(sorted(known)) or 'none'}"
            raise SnapshotError(f"the guest has no writable disk {missing[0]!r}{text}")
        if kind.disks:
            left_out = [each.disk for each in self.snapshots if each.disk not in kind.disks]
            self.skipped += [SkippedDisk(disk, "not asked for") for disk in left_out]
            self.snapshots = [each for each in self.snapshots if each.disk in kind.disks]
        if not self.snapshots:
            raise SnapshotError("the guest has no writable disk")


def remove_file(path: str) -> None:
    """Remove the new file of a disk, if it was made. Raises SnapshotError."""
    try:
        if Path(path).is_file():
            Path(path).unlink()
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from None


class DiskControl(Protocol):
    """Makes snapshots of the disks of one guest. All methods raise SnapshotError."""

    async def prepare(self) -> DiskPlan:
        """Find the disks, and do what takes time and need not be done while the guest is frozen."""

    async def snapshot(self) -> None:
        """Make all snapshots in one transaction: all or none."""

    async def complete(self) -> None:
        """Wait until backups are copied. The guest is no longer frozen."""

    async def undo(self) -> None:
        """Remove the snapshots, so that the disks are as if there had been none. Also after a failed `prepare`."""

    async def close(self) -> None:
        """Disconnect."""
