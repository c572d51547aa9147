"""`phoenixctl mount`"""

from __future__ import annotations

import os
from errno import ENOTDIR
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.errors import REFUSED, GuestProblem, complain
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.programs import USER
from phoenix_ga.cli.selection import select_one
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# Seconds until the files must be mounted, unless --timeout is given.
_TIMEOUT = 30.0


@verb(
    short_help="Mount a directory of the guest on this host.",
    epilog="""\b
sshfs(1) mounts it; the guest needs neither sshd nor a network. The files have the owners that they
have in the guest, and are accessed with the rights of USER, by default the agent's. OPTION is one
of sshfs, such as ro, allow_other or idmap=user.

\b
It stays mounted until `phoenixctl umount DIR`, or until the connection is lost. Until then, the
port of the guest is in use; with a hub, others can use the guest too.

\b
Example:
  $ mkdir -p www && phoenixctl mount web1:/srv/www www && ls www && phoenixctl umount www
""",
)
@click.argument("source", metavar="GUEST:/PATH", shell_complete=complete_guest_path)
@click.argument("directory", metavar="DIR", type=click.Path())
@USER
@click.option("-R", "--read-only", is_flag=True, help="Mount it so that nothing can be changed.")
@click.option("-o", "--option", "more", metavar="OPTION", multiple=True, help="Option of sshfs; repeatable.")
@click.pass_obj
def command(options: Options, source: str, directory: str, user: str, read_only: bool, more: tuple[str, ...]) -> int:
    """Mount a directory of the guest on this host."""
    from phoenix_ga.cli.mounting import NotMountedError, mount
    from phoenix_ga.cli.serving_sftp import serve_sftp

    guest, path = guest_path(source)
    name = f"{select_one(guest).name}:{path}"
    place = os.path.realpath(directory)
    wanted = [*["ro"] * read_only, *more]

    async def check(connected: Guest) -> None:
        # sshfs mounts first, and connects when a file is used.
        status = await connected.files.stat(path, follow=True)
        if not status.is_directory:
            raise GuestProblem(ENOTDIR, os.strerror(ENOTDIR), path)
        async with connected.sftp(user=user, read_only=read_only):
            pass

    ask(options, guest, check)

    def serve() -> int:
        return serve_sftp(options, guest, user, read_only)

    try:
        mount(serve, name, path, place, wanted, options.timeout or _TIMEOUT)
    except NotMountedError as error:
        if error.strerror:
            complain(error.strerror, REFUSED)
        return REFUSED
    options.show({"source": name, "directory": directory}, "")
    return 0
