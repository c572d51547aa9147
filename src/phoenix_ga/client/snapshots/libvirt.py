"""Snapshots by libvirt, with virsh(1): libvirt must know of the disks of its domains."""

from __future__ import annotations

import asyncio
import shutil
from typing import Final
from xml.etree import ElementTree

from phoenix_ga.client.errors import SnapshotError
from phoenix_ga.client.snapshots.model import EXTERNAL, DiskPlan, DiskSnapshot, Kind, SkippedDisk, remove_file

_URI: Final = "qemu:///system"


class LibvirtDisks:
    """The disks of a domain. See `DiskControl`."""

    def __init__(self, domain: str, guest: str, kind: Kind, uri: str = _URI) -> None:
        if kind.kind != EXTERNAL:
            raise SnapshotError("only --external works with guests of libvirt; for copies, see virsh backup-begin")
        if shutil.which("virsh") is None:
            raise SnapshotError("virsh is missing; install libvirt-clients")
        self._domain = domain
        self._guest = guest
        self._kind = kind
        self._plan = DiskPlan()
        self._uri = uri
        # If libvirtd ends meanwhile, virsh cannot tell whether it was made.
        self._begun = False

    async def prepare(self) -> DiskPlan:
        """Find the disks."""
        for name, disk in await self._disks():
            source = disk.find("source")
            if disk.get("device", "disk") != "disk" or source is None:
                self._plan.skipped.append(SkippedDisk(name, f"a {disk.get('device')}, or no medium"))
            elif disk.find("readonly") is not None:
                self._plan.skipped.append(SkippedDisk(name, "read-only"))
            else:
                self._plan.snapshots.append(DiskSnapshot(name, _place(source), -1))
        self._plan.select(self._kind)
        for snapshot in self._plan.snapshots:
            path = self._kind.file(self._guest, snapshot.disk)
            if path.exists():
                raise SnapshotError(f"{path} exists already; choose another --name")
            snapshot.file = str(path)
        return self._plan

    async def _disks(self) -> list[tuple[str, ElementTree.Element]]:
        """Return the name and the description of each disk."""
        try:
            top = ElementTree.fromstring(await self._virsh("dumpxml"))
        except ElementTree.ParseError as error:
            raise SnapshotError(f"virsh dumpxml: {error}") from None
        disks = []
        for disk in top.iterfind("devices/disk"):
            target = disk.find("target")
            disks.append((target.get("dev", "?") if target is not None else "?", disk))
        return disks

    async def snapshot(self) -> None:
        """Make all snapshots at once."""
        words = ["--name", self._kind.name, "--disk-only", "--atomic"]
        for snapshot in self._plan.snapshots:
            # A comma in an option of virsh is doubled.
            file = snapshot.file.replace(",", ",,")
            words += ["--diskspec", f"{snapshot.disk},snapshot=external,file={file}"]
        for skipped in self._plan.skipped:
            words += ["--diskspec", f"{skipped.disk},snapshot=no"]
        self._begun = True
        await self._virsh("snapshot-create-as", *words)

    async def complete(self) -> None:
        """Return: there is nothing to wait for."""

    async def undo(self) -> None:
        """Commit the overlays into their bases again, and remove them."""
        if self._begun:
            sources = ((name, disk.find("source")) for name, disk in await self._disks())
            places = {name: _place(source) for name, source in sources if source is not None}
            in_use = [each for each in self._plan.snapshots if places.get(each.disk) == each.file]
            for snapshot in in_use:
                await self._virsh("blockcommit", snapshot.disk, "--shallow", "--active", "--pivot", "--wait")
                remove_file(snapshot.file)
            if in_use:
                await self._virsh("snapshot-delete", self._kind.name, "--metadata")
            self._begun = False

    async def close(self) -> None:
        """Return: each call of virsh connects for itself."""

    async def _virsh(self, verb: str, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("virsh", "--quiet", "--connect", self._uri, verb, "--domain", self._domain, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise SnapshotError(f"virsh {verb}: {' '.join(errors.decode(errors='replace').split())}")
        return output.decode(errors="replace")


def _place(source: ElementTree.Element) -> str:
    return source.get("file") or source.get("dev") or source.get("name") or ""
