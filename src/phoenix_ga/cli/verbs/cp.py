"""`phoenixctl cp`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.copying import Copier, CopyOptions, CopyPlace
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.path_completion import complete_path
from phoenix_ga.cli.progress import ProgressDisplay
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import Outcome, ended

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest


@click.command(
    short_help="Copy files and directories from guests, or to them.",
    epilog="""\b
SRC and DST are GUEST:PATH, with an absolute PATH in the guest, or local files: what has no
`:/` in it is local. At least one of them is in a guest. A destination that is a directory
gets a copy of the same name, else it becomes the copy. The permission bits are kept, and the
holes of single files. Each file appears at the destination whole, or not at all.

\b
With --resume, what has come of a file is kept where the copy breaks off, beside the destination as
`.NAME.PART.phoenix-part`, and the next copy of the same unchanged file goes on from there.

\b
With -r, times and links are kept as well. What a guest sends never gets outside of DST:
links that lead out of it, devices and FIFOs are left out here, and named on stderr.

\b
Examples:
  $ phoenixctl cp unix:/run/web1.sock:/etc/hosts ./hosts-of-web1
  $ phoenixctl cp index.html style.css /run/web1.sock:/srv/www/
  $ phoenixctl cp -r /run/web1.sock:/srv/www /run/web2.sock:/srv/
  $ phoenixctl cp site.conf 'web*:/etc/nginx/'
""",
)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=complete_path)
@click.argument("destination", metavar="DST", shell_complete=complete_path)
@click.option("-r", "-R", "--recursive", is_flag=True, help="Copy directories with all that is in them.")
@click.option("--owners", is_flag=True, help="With -r, keep the numeric owners, where the receiver is root.")
@click.option("--set-id", is_flag=True, help="With -r, keep set-user-ID and set-group-ID bits.")
@click.option(
    "--resume", is_flag=True, help="Go on where a copy of the same file stopped; keep what came if this one does."
)
@click.option("--no-verify", is_flag=True, help="Do not compare the SHA-256 of both sides of single files.")
@click.pass_obj
def command(
    options: Options,
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    owners: bool,
    set_id: bool,
    resume: bool,
    no_verify: bool,
) -> int:
    """Copy files and directories from guests, to them, or between them, as scp does."""
    origins = [CopyPlace.parse(word) for word in sources]
    target = CopyPlace.parse(destination)
    # One without a name should not be found when others have been copied.
    names = [origin.name for origin in origins]
    for name, origin in zip(names, origins):
        if not (name or recursive):
            raise click.UsageError(f"{origin.word} is a directory; -r copies it with all that is in it.")
        if origin.endpoint is None and target.endpoint is None:
            raise click.UsageError("One of SRC and DST must be GUEST:/PATH; cp(1) copies local files.")
    if resume and (recursive or no_verify):
        raise click.UsageError("--resume is for single files, and verifies them: leave out -r and --no-verify.")
    if resume and target.endpoint is not None and any(origin.endpoint is not None for origin in origins):
        raise click.UsageError("--resume is for copies from a guest or to one, not between guests.")
    form = CopyOptions(recursive, owners, set_id, resume, not no_verify)
    if any(origin.endpoint is not None and not is_plain(origin.endpoint) for origin in origins):
        raise click.UsageError("Copies from several guests would take each other's place; copy from one at a time.")
    if target.endpoint is not None and not is_plain(target.endpoint):
        if any(origin.endpoint is not None for origin in origins):
            raise click.UsageError("What goes to several guests comes from this host; copy it here first.")
        return _copy_to_several(options, form, origins, target)

    origins, target = [origin.resolved() for origin in origins], target.resolved()

    async def show(values: dict[str, Any]) -> None:
        if options.json:
            options.show(values, "")

    with ProgressDisplay(options) as display:
        return run(Copier(form, display, options.connect_to, show).copy_all(origins, target))


def _copy_to_several(options: Options, form: CopyOptions, origins: list[CopyPlace], target: CopyPlace) -> int:
    assert target.endpoint is not None
    # A bar for each would be in the way of the others.
    display = ProgressDisplay(options, shown=False)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async def show(values: dict[str, Any]) -> None:
            await printer.result(values, "")

        copying = Copier(form, display, options.connect_among, show)
        return ended(await copying.copy_all(origins, replace(target, known=known)))

    return fan_out(options, select(target.endpoint), on_one)
