"""`timeout`, a context manager that limits the time of its body, and `uncancel`."""

from __future__ import annotations

import asyncio
import sys

# asyncio.wait_for of Python 3.11 and earlier loses a cancellation that arrives together with the result.
if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout", "uncancel"]


def uncancel() -> None:
    """Let the running task go on after a cancellation that it has caught; Python 3.10 keeps no count of them."""
    task = asyncio.current_task()
    if sys.version_info >= (3, 11) and task is not None:
        task.uncancel()
