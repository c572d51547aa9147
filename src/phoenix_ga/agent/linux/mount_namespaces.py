"""Mounts that exist only in other mount namespaces: of containers, and of services with mounts of their own.

See mount_namespaces(7). A namespace without a process, which only a bind mount or an open descriptor keeps, is not
found.
"""

from __future__ import annotations

import os

from phoenix_ga.agent.linux.mounts import parse_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.linux.mounts import Mount


def mounts_elsewhere(known: set[int]) -> list[Mount]:
    """Return the mounts in other namespaces, except of devices that are `known`. `process` is set in each."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    found: list[Mount] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            if namespace in seen:
                continue
            with open(f"/proc/{name}/mountinfo", "rb") as file:
                mounts = parse_mounts(file.read())
        except OSError:
            # It has ended.
            continue
        seen.add(namespace)
        for mount in mounts:
            if mount.device not in known:
                mount.process = int(name)
                found.append(mount)
    return found
