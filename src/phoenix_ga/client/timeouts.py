"""A limit on the time that something may take."""

from __future__ import annotations

import sys

# asyncio.wait_for of Python up to 3.11 forgets a cancellation that comes just with the result.
if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout"]
