"""What md5sum and sha256sum share"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# What a guest reads at the least, in bytes a second, and how long it may take at the most, in seconds.
_DIGEST_SPEED = 10_000_000


_DIGEST_TIME_MAX = 86400.0


async def with_digest_timeout(options: Options, guest: Guest, path: str) -> Guest:
    """Return the guest with a time-out that is long enough to read the file, unless the user gave one."""
    from phoenix_ga.client import GuestRefused

    if options.timeout is not None:
        return guest
    try:
        status = await guest.file_stat(path, follow=True)
    except GuestRefused:
        # What is asked for will be refused as well, or needs no permission for this.
        return guest
    return guest.with_timeout(digest_timeout(status.size, stat.S_ISBLK(status.mode & 0o177777)))


def digest_timeout(size: int, is_device: bool) -> float:
    """Return how long a slow guest may read a file, in seconds. is_device: its size, in bytes, is unknown."""
    from phoenix_ga.client import CALL_TIMEOUT

    return _DIGEST_TIME_MAX if is_device else min(CALL_TIMEOUT + max(size, 0) / _DIGEST_SPEED, _DIGEST_TIME_MAX)


def digest_result(algorithm: str, path: str, digest: str) -> tuple[dict[str, Any], str]:
    return {"path": path, algorithm: digest}, f"{escape(digest)}  {escape(path)}"
