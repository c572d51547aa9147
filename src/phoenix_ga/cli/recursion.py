"""What chmod and chown share"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.errors import REFUSED, complain

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# What a program of the guest may write before it is ended, in bytes.
_COMPLAINTS_MAX = 1024 * 1024


def run_in_guest(options: Options, argv: tuple[str, ...], paths: tuple[str, ...], **more: str) -> int:
    """Let a program of the guest do it to each path, and show what it complains of."""

    async def work(guest: Guest, path: str) -> int:
        variables = {"LC_ALL": "C.UTF-8"}
        completed = await guest.run([*argv, path], env=variables, limit=_COMPLAINTS_MAX, timeout=options.timeout)
        for line in completed.stderr.decode("utf-8", "backslashreplace").splitlines():
            complain(line)
        return REFUSED if completed.returncode else 0

    return each_path(options, paths, work, lambda path, _: done(path, **more), lambda status: status)


def done(path: str, **more: str) -> tuple[dict[str, Any], str]:
    return {"path": path, **more}, ""
