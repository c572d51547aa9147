"""`timeout`, a context manager that limits the time of its body."""

from __future__ import annotations

import sys

# asyncio.wait_for of Python 3.11 and earlier loses a cancellation that arrives together with the result.
if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout"]
