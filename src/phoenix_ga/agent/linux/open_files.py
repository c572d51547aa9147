"""Which processes have a file open."""

from __future__ import annotations

import os


def users_of(path: str) -> list[str]:
    """Return the name and process ID of each process that has a file open, except this one.

    Reads the links in /proc only, so a filesystem that hangs does not matter.
    """
    wanted = os.path.realpath(path)
    found = []
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            if any(os.readlink(entry.path) == wanted for entry in os.scandir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/comm", errors="replace") as file:
                    found.append(f"{file.read().strip()} (process {pid})")
        except OSError:
            # It has ended.
            continue
    return found
