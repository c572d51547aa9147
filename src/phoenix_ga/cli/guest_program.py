"""Running chmod(1) and chown(1) of the guest on whole trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.errors import REFUSED, complain

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# Error messages of the program, in bytes; more of them ends it.
_MESSAGES_MAX = 1024 * 1024


def run_on_each_path(options: Options, argv: tuple[str, ...], paths: tuple[str, ...], **members: str) -> int:
    """Run a program of the guest with each path as its last argument; return the exit status.

    Args:
        members: Further members of the JSON for a path.
    """

    async def work(guest: Guest, path: str) -> int:
        variables = {"LC_ALL": "C.UTF-8"}
        completed = await guest.run([*argv, path], env=variables, limit=_MESSAGES_MAX, timeout=options.timeout)
        for line in completed.stderr.decode("utf-8", "backslashreplace").splitlines():
            complain(line, REFUSED if completed.returncode else None)
        return REFUSED if completed.returncode else 0

    return each_path(options, paths, work, lambda path, _: ({"path": path, **members}, ""), lambda status: status)
