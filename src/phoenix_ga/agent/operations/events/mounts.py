"""Events of mounts."""

from __future__ import annotations

import os

from phoenix_ga.agent.linux.mounts import read_mounts
from phoenix_ga.agent.linux.source import PolledFile
from phoenix_ga.agent.operations.events.producer import Producer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.linux.mounts import Mount


class MountProducer(Producer):
    """Compares the mounts with those of before."""

    names = ("MOUNTED", "UNMOUNTED", "REMOUNTED")
    slow = True

    def __init__(self) -> None:
        super().__init__(PolledFile("/proc/self/mountinfo"))
        try:
            self._mounts = {mount.identifier: mount for mount in read_mounts()}
            # Mounts that mountinfo shows as writable, although an error has stopped all writes.
            self._failed: set[int] = set()
        except BaseException:
            self.source.close()
            raise

    def examine(self) -> list[tuple[str, dict[str, Any]]]:
        before, self._mounts = self._mounts, {mount.identifier: mount for mount in read_mounts()}
        found = []
        for identifier, mount in before.items():
            # The kernel gives a number again at once.
            if not _is_same(self._mounts.get(identifier), mount):
                found.append(("UNMOUNTED", _data(mount)))
                self._failed.discard(identifier)
        for identifier, mount in self._mounts.items():
            old = before.get(identifier)
            if not _is_same(old, mount):
                found.append(("MOUNTED", _data(mount)))
            elif old is not None and old.read_only != mount.read_only and identifier not in self._failed:
                found.append(("REMOUNTED", _data(mount)))
        return found

    def device_failed(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for mount in self._mounts.values() if name else ():
            if _device_name(mount.device) == name and mount.identifier not in self._failed and not mount.read_only:
                self._failed.add(mount.identifier)
                found.append(("REMOUNTED", {**_data(mount), "read_only": True}))
        return found


def _is_same(one: Mount | None, other: Mount) -> bool:
    return one is not None and (one.device, one.point, one.root) == (other.device, other.point, other.root)


def _device_name(number: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    except OSError:
        # It is on no block device.
        return ""


def _data(mount: Mount) -> dict[str, Any]:
    return {
        "mountpoint": mount.point,
        "type": mount.type,
        "source": mount.source,
        "read_only": mount.read_only,
    }
