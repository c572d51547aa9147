"""What `md5sum` and `sha256sum` have in common."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.file_status import mode_of
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# The slowest disk of a guest, in bytes a second, and the longest time limit, in seconds.
_SLOW_DISK = 10_000_000
_TIMEOUT_MAX = 86400.0


def print_digests(
    options: Options, paths: tuple[str, ...], algorithm: str, compute: Callable[[Guest, str], Awaitable[str]]
) -> int:
    """Print the digest of each file; return the exit status."""

    async def work(guest: Guest, path: str) -> str:
        return await compute(await _with_timeout_for(options, guest, path), path)

    def describe(path: str, digest: str) -> tuple[dict[str, Any], str]:
        return {"path": path, algorithm: digest}, f"{escape(digest)}  {escape(path)}"

    return each_path(options, paths, work, describe)


async def _with_timeout_for(options: Options, guest: Guest, path: str) -> Guest:
    """Return the guest with enough time to read the file, unless --timeout was given."""
    from phoenix_ga.client import CommandError

    if options.timeout is not None:
        return guest
    try:
        status = await guest.files.stat(path, follow=True)
    except CommandError:
        # The digest will be refused as well, or does not need this permission.
        return guest
    return guest.with_timeout(digest_timeout(status.size, stat.S_ISBLK(mode_of(status))))


def digest_timeout(size: int, is_device: bool) -> float:
    """Return a time limit in seconds for reading a file of `size` bytes, or a device of unknown size."""
    from phoenix_ga.client import CALL_TIMEOUT

    return _TIMEOUT_MAX if is_device else min(CALL_TIMEOUT + max(size, 0) / _SLOW_DISK, _TIMEOUT_MAX)
