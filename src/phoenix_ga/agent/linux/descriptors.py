"""Open file descriptors of this process."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container


def close_all_but(kept: Container[int]) -> None:
    """Close all file descriptors except `kept`: for a process that was forked."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue
