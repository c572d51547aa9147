"""`phoenixctl ln`"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


@verb(
    short_help="Make links in the guest.",
    epilog="""\b
LINK is the new name. Without -s it is another name of the file TARGET, which must be on the same
filesystem. With -s, TARGET is the text of the link: a relative one counts from the directory of
LINK, and it need not exist.

\b
Examples:
  $ phoenixctl ln -s releases/2 web1:/srv/current
  $ phoenixctl ln -sf releases/1 web1:/srv/current
""",
)
@click.argument("target")
@click.argument("link", metavar="GUEST:/LINK", shell_complete=complete_guest_path)
@click.option("-s", "--symbolic", is_flag=True, help="Make a symbolic link.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file, in one step.")
@click.pass_obj
def command(options: Options, target: str, link: str, symbolic: bool, force: bool) -> int:
    """Make a link in the guest, as ln(1) does with -T."""
    guest_path(link)
    if not (symbolic or posixpath.isabs(target)):
        raise click.UsageError(f"TARGET {target!r} must be an absolute path, unless the link is symbolic (-s).")

    async def work(guest: Guest, path: str) -> None:
        await guest.files.link(path, target, symbolic, force)

    return each_path(options, (link,), work, lambda path, _: ({"path": path, "target": target}, ""))
