"""Snapshots by QEMU's monitor, see QEMU's qapi/block-core.json and docs/interop/live-block-operations."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.errors import SnapshotError
from phoenix_ga.client.snapshots.model import (
    BACKUP,
    EXTERNAL,
    INTERNAL,
    DiskPlan,
    DiskSnapshot,
    Kind,
    SkippedDisk,
    remove_file,
)
from phoenix_ga.client.snapshots.qmp import Qmp

_POLL_TIME: Final = 0.1
# Seconds in which a job must get on by at least a byte.
_STALL_TIME: Final = 120.0


class QemuDisks:
    """The disks of a guest whose QEMU has a monitor of its own. See `DiskControl`."""

    def __init__(self, qmp: Qmp, guest: str, kind: Kind) -> None:
        self._qmp = qmp
        self._guest = guest
        self._kind = kind
        self._plan = DiskPlan()
        # By disk: what QEMU calls it.
        self._devices: dict[str, str] = {}
        # By disk: the node that it writes to before the snapshot.
        self._nodes_before: dict[str, str] = {}
        self._nodes: list[str] = []
        self._files: list[Path] = []
        # Without an answer, nobody knows whether it was made.
        self._begun = False

    async def prepare(self) -> DiskPlan:
        """Find the disks; make the files of backups."""
        kind = self._kind
        bitmaps: set[str] = set()
        for name, block in (await self._blocks()).items():
            inserted = block.get("inserted") or {}
            reason = self._unfit(block, inserted)
            if reason:
                self._plan.skipped.append(SkippedDisk(name, reason))
                continue
            self._devices[name] = block.get("device") or inserted["node-name"]
            self._nodes_before[name] = inserted["node-name"]
            image = inserted.get("image", {})
            self._plan.snapshots.append(DiskSnapshot(name, inserted.get("file", ""), image.get("virtual-size", -1)))
            if kind.bitmap and any(each.get("name") == kind.bitmap for each in inserted.get("dirty-bitmaps", ())):
                bitmaps.add(name)
        self._plan.select(kind)
        for number, snapshot in enumerate(self._plan.snapshots):
            if kind.kind == INTERNAL:
                continue
            path = kind.file(self._guest, snapshot.disk)
            if path.exists():
                raise SnapshotError(f"{path} exists already; choose another --name")
            snapshot.file = str(path)
            snapshot.incremental = snapshot.disk in bitmaps
            if kind.kind == BACKUP:
                await self._make_target(number, path, snapshot)
        return self._plan

    async def _blocks(self) -> dict[str, dict[str, Any]]:
        """Return the description of each disk, by its name."""
        blocks = {}
        for block in await self._qmp.execute("query-block"):
            qdev = str(block.get("qdev") or "").removesuffix("/virtio-backend").rpartition("/")[2]
            blocks[block.get("device") or qdev or "?"] = block
        return blocks

    def _unfit(self, block: dict[str, Any], inserted: dict[str, Any]) -> str:
        if not inserted:
            return "no medium"
        if inserted.get("ro"):
            return "read-only"
        if self._kind.kind == INTERNAL and inserted.get("drv") != "qcow2":
            return f"{inserted.get('drv')} images have no internal snapshots"
        return ""

    async def _make_target(self, number: int, path: Path, snapshot: DiskSnapshot) -> None:
        if shutil.which("qemu-img") is None:
            raise SnapshotError("qemu-img is missing; install qemu-utils")
        self._files.append(path)
        process = await asyncio.create_subprocess_exec(
            *("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(snapshot.size)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode != 0:
            raise SnapshotError(f"cannot make {path}: {errors.decode(errors='replace').strip()}")
        node = self._node(number)
        options = {"driver": "qcow2", "node-name": node, "file": {"driver": "file", "filename": str(path)}}
        await self._qmp.execute("blockdev-add", options)
        self._nodes.append(node)

    def _node(self, number: int) -> str:
        # The name of a node has at most 31 characters.
        return f"phoenix-{abs(hash(self._kind.name)) % 10**9}-{number}"

    async def snapshot(self) -> None:
        """Make all snapshots in one transaction."""
        actions: list[dict[str, Any]] = []
        for number, snapshot in enumerate(self._plan.snapshots):
            actions += self._actions(number, snapshot)
        # One that fails ends all, so that their bitmaps stay together. Actions that make a bitmap cannot be grouped.
        grouped = all(snapshot.incremental for snapshot in self._plan.snapshots)
        properties = {"completion-mode": "grouped"} if grouped else {}
        self._begun = True
        await self._qmp.execute("transaction", {"actions": actions, "properties": properties})

    def _actions(self, number: int, snapshot: DiskSnapshot) -> list[dict[str, Any]]:
        device, node = self._devices[snapshot.disk], self._node(number)
        if self._kind.kind == EXTERNAL:
            target = {"device": device, "snapshot-file": snapshot.file, "format": "qcow2"}
            return [{"type": "blockdev-snapshot-sync", "data": target}]
        if self._kind.kind == INTERNAL:
            data = {"device": device, "name": self._kind.name}
            return [{"type": "blockdev-snapshot-internal-sync", "data": data}]
        backup = {"job-id": node, "device": device, "target": node, "sync": "full", "auto-dismiss": False}
        actions = [{"type": "blockdev-backup", "data": backup}]
        if snapshot.incremental:
            backup.update({"sync": "incremental", "bitmap": self._kind.bitmap})
        elif self._kind.bitmap:
            bitmap = {"node": device, "name": self._kind.bitmap}
            actions.insert(0, {"type": "block-dirty-bitmap-add", "data": bitmap})
        return actions

    async def complete(self) -> None:
        """Wait until backups are copied."""
        if self._kind.kind == BACKUP:
            jobs = [self._node(number) for number in range(len(self._plan.snapshots))]
            await self._wait_for(jobs)
            await self._remove_nodes()

    async def undo(self) -> None:
        """Commit overlays into their bases again, delete internal snapshots, or cancel backups; remove the files."""
        if self._begun:
            inserted = await self._inserted()
            for number, snapshot in enumerate(self._plan.snapshots):
                await self._undo_one(number, snapshot, inserted[snapshot.disk])
        await self._remove_nodes()
        if self._begun and self._kind.kind == BACKUP and self._kind.bitmap:
            await self._remove_bitmaps()
        self._begun = False
        for path in self._files:
            path.unlink(missing_ok=True)

    async def _inserted(self) -> dict[str, dict[str, Any]]:
        """Return the description of the medium of each disk of the plan."""
        blocks = await self._blocks()
        return {each.disk: blocks.get(each.disk, {}).get("inserted") or {} for each in self._plan.snapshots}

    async def _undo_one(self, number: int, snapshot: DiskSnapshot, inserted: dict[str, Any]) -> None:
        if self._kind.kind == EXTERNAL:
            # Not by the name of the node: a job of somebody else may have put a filter on top.
            if inserted.get("file") != snapshot.source:
                await self._commit(number, snapshot)
            # QEMU leaves it if another disk cannot be snapshotted.
            remove_file(snapshot.file)
        elif self._kind.kind == INTERNAL:
            if any(each["name"] == self._kind.name for each in inserted.get("image", {}).get("snapshots", ())):
                data = {"device": self._devices[snapshot.disk], "name": self._kind.name}
                await self._qmp.execute("blockdev-snapshot-delete-internal-sync", data)
        else:
            await self._cancel(self._node(number))

    async def _remove_bitmaps(self) -> None:
        # After the jobs have ended: their filters have no bitmaps.
        inserted = await self._inserted()
        for snapshot in self._plan.snapshots:
            bitmaps = inserted[snapshot.disk].get("dirty-bitmaps", ())
            # Of an incremental backup that was cancelled, QEMU keeps the bitmap as it was.
            if not snapshot.incremental and any(each.get("name") == self._kind.bitmap for each in bitmaps):
                data = {"node": self._devices[snapshot.disk], "name": self._kind.bitmap}
                await self._qmp.execute("block-dirty-bitmap-remove", data)

    async def close(self) -> None:
        """Disconnect."""
        await self._qmp.close()

    async def _commit(self, number: int, snapshot: DiskSnapshot) -> None:
        job, disk = self._node(number), snapshot.disk
        # By default, QEMU would commit into the lowest file of the chain.
        data = {"job-id": job, "device": self._devices[disk], "base-node": self._nodes_before[disk]}
        await self._qmp.execute("block-commit", data)
        await self._wait_for([job], complete=True)

    async def _cancel(self, job: str) -> None:
        if any(each["id"] == job for each in await self._qmp.execute("query-jobs")):
            try:
                await self._qmp.execute("job-cancel", {"id": job})
            except SnapshotError:
                # It has just ended.
                pass
            while (status := await self._status(job)) not in ("", "concluded"):
                await asyncio.sleep(_POLL_TIME if status else 0)
            if status:
                await self._qmp.execute("job-dismiss", {"id": job})

    async def _status(self, job: str) -> str:
        jobs = await self._qmp.execute("query-jobs")
        return next((each["status"] for each in jobs if each["id"] == job), "")

    async def _remove_nodes(self) -> None:
        while self._nodes:
            await self._qmp.execute("blockdev-del", {"node-name": self._nodes[-1]})
            self._nodes.pop()

    async def _wait_for(self, jobs: list[str], complete: bool = False) -> None:
        """Wait for the end of jobs. complete: tell each to complete when it is ready."""
        moved = time.monotonic()
        progress: object = None
        told: set[str] = set()
        waiting = set(jobs)
        while waiting:
            found = {each["id"]: each for each in await self._qmp.execute("query-jobs") if each["id"] in waiting}
            for job in waiting - set(found):
                waiting = waiting - {job}
            for job, each in found.items():
                if each["status"] == "ready" and complete and job not in told:
                    told.add(job)
                    await self._qmp.execute("job-complete", {"id": job})
                elif each["status"] == "concluded":
                    waiting = waiting - {job}
                    await self._qmp.execute("job-dismiss", {"id": job})
                    if each.get("error"):
                        raise SnapshotError(f"QEMU: {each['error']}")
            state = {job: (each["status"], each["current-progress"]) for job, each in found.items()}
            if state != progress:
                progress, moved = state, time.monotonic()
            elif time.monotonic() > moved + _STALL_TIME:
                raise SnapshotError(f"QEMU does not get on with {', '.join(sorted(waiting))}")
            await asyncio.sleep(_POLL_TIME)
