"""Which processes another one has started."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children(pid: int | str = "self") -> list[int]:
    """Return the process IDs of what a process has started and not waited for."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids += map(int, (task / "children").read_text().split())
    return pids
