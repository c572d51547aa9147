"""Taking snapshots of guests: freeze all, make all, thaw all; and remove what was made if the freeze did not hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.errors import SnapshotError
from phoenix_ga.client.frozen import FreezeProgress, finish, freeze_group
from phoenix_ga.client.guest import Guest
from phoenix_ga.client.models import Freeze
from phoenix_ga.client.snapshots.model import DiskControl, DiskPlan, Kind

#: Verdicts. CONSISTENT: the guests were frozen when the snapshot was made; CRASH_CONSISTENT: nobody asked for that.
CONSISTENT: Final = "consistent"
CRASH_CONSISTENT: Final = "crash-consistent"
# It was begun, and not ended.
UNFINISHED: Final = "unfinished"


@dataclass
class GuestSnapshot:
    """The snapshot of a guest. guest: None if it is not to be frozen."""

    name: str
    guest: Guest | None
    control: DiskControl
    plan: DiskPlan = field(default_factory=DiskPlan)
    freeze: Freeze | None = None
    blocked: int | None = None

    def as_object(self) -> dict[str, Any]:
        """Return the part of the manifest about this guest."""
        freeze = self.freeze
        return {
            "disks": [asdict(each) for each in self.plan.snapshots],
            "skipped": [asdict(each) for each in self.plan.skipped],
            "generation": freeze.generation if freeze else None,
            "filesystems": list(freeze.filesystems) if freeze else [],
            "not_frozen": [{"mountpoint": each.mountpoint, "reason": each.reason} for each in freeze.skipped]
            if freeze
            else [],
            "blocked": self.blocked,
        }


class Snapshots:
    """Snapshots of several guests at one time.

    Args:
        progress: as for `Guest.frozen`.
        note: is called with a sentence about something that takes long, or that somebody must do by hand.
    """

    def __init__(
        self,
        kind: Kind,
        guests: Sequence[GuestSnapshot],
        *,
        auto_thaw: int = -1,
        progress: FreezeProgress | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.kind = kind
        self.guests = guests
        self.verdict = UNFINISHED
        self._auto_thaw = auto_thaw
        self._progress = progress
        self._note = note
        self._started = time.time()
        self._ended: float | None = None
        self._saved = False

    @property
    def manifest(self) -> dict[str, Any]:
        """What was made: also written to NAME.json beside the files, before the snapshot and after it."""
        return {
            "name": self.kind.name,
            "kind": self.kind.kind,
            "verdict": self.verdict,
            "started": self._started,
            "ended": self._ended,
            "guests": {each.name: each.as_object() for each in self.guests},
        }

    async def take(self) -> None:
        """Take the snapshots. If that fails, or is cancelled, everything is as before.

        Raises:
            FreezeNotHeldError: a guest was not frozen, or not all the time.
            SnapshotError: the disks refused; the text says what must be removed by hand.
        """
        try:
            for each in self.guests:
                each.plan = await each.control.prepare()
            self._save()
            frozen = [each for each in self.guests if each.guest is not None]
            if frozen:
                await self._take_frozen(frozen)
            else:
                await self._make()
            await _all([each.control.complete() for each in self.guests])
        except BaseException:
            await finish(asyncio.ensure_future(self._undo()))
            raise
        self.verdict = CONSISTENT if len(frozen) == len(self.guests) else CRASH_CONSISTENT
        self._ended = time.time()
        self._save()

    async def _take_frozen(self, guests: Sequence[GuestSnapshot]) -> None:
        connected = [each.guest for each in guests if each.guest is not None]
        group = freeze_group(connected, auto_thaw=self._auto_thaw, progress=self._progress)
        async with group as frozen:
            for each, guest in zip(guests, connected):
                each.freeze = frozen.freezes[guest.name]
            await self._make()
        for each, guest in zip(guests, connected):
            each.blocked = frozen.blocked.get(guest.name)

    async def _make(self) -> None:
        # Cancelled in between, nobody would know what was made.
        await finish(asyncio.ensure_future(_all([each.control.snapshot() for each in self.guests])))

    async def _undo(self) -> None:
        failures = []
        for each in self.guests:
            try:
                await each.control.undo()
            except SnapshotError as error:
                files = ", ".join(snapshot.file for snapshot in each.plan.snapshots if snapshot.file)
                failures.append(f"{each.name}: cannot remove the snapshot {self.kind.name} {files}: {error.text}")
        for failure in failures:
            self._note(failure)
        if not failures and self._saved and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    @property
    def _path(self) -> Path | None:
        return None if self.kind.directory is None else self.kind.directory / f"{self.kind.name}.json"

    def _save(self) -> None:
        path = self._path
        if path is None:
            return
        if not self._saved and path.exists():
            raise SnapshotError(f"{path} exists already; choose another --name")
        temporary = path.with_name(f".{path.name}.new")
        try:
            temporary.write_text(json.dumps(self.manifest, indent=2) + "\n")
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
            self._saved = True
        except OSError as error:
            raise SnapshotError(f"cannot write the manifest {path}: {error.strerror}") from None


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to their ends, and raise the first error."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
