"""A session of SFTP between stdin and stdout and a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


def serve_sftp(options: Options, guest: str, user: str, read_only: bool) -> int:
    """Connect stdin and stdout to a server of SFTP in the guest until it ends; return its exit status."""

    async def work(connected: Guest) -> int:
        from phoenix_ga.cli.relay import join_stdio

        async with connected.sftp(user=user, read_only=read_only) as process:
            await join_stdio(process.stdout)
            return process.returncode or 0

    return ask(options, guest, work)
