"""Progress on standard error: one line a stage, with the time it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Say `title` when the body begins and how many seconds it took when it ends."""
    begin = time.monotonic()
    outcome = "failed after"
    print(f"lab: {title} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
        outcome = "done in"
    finally:
        print(f" {outcome} {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
