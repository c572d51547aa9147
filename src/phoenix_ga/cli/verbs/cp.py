"""`phoenixctl cp`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.completion import complete_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.copying import Copier, CopyOptions, CopyPlace
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.progress import ProgressDisplay
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import Outcome, ended
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client.digests import Verify
    from phoenix_ga.client.discovery import KnownGuest


@verb(
    short_help="Copy files and directories to, from and between guests.",
    epilog="""\b
SRC and DST are GUEST:/PATH or local paths; at least one is in a guest. If DST is an existing
directory, SRC is copied into it. Each file is replaced atomically. A new file gets the permission
bits of SRC. An existing file keeps its owner, permissions, access control list and other
attributes, but no set-ID bits. Holes in single files are kept. With -p, files get permissions,
modification time and, if the receiver is root, the numeric owner of SRC.

\b
With --xattrs, files get permission bits, access control list and user attributes of SRC, and
capabilities if SRC is on this host. --all-xattrs also takes capabilities, SELinux labels and others
that only root can set from a guest. Without them, a note tells if SRC has any.

\b
`*`, `?` and [...] in a SRC in a guest are expanded in the guest. Quote them for your shell; a
backslash makes the next character an ordinary one.

\b
With --resume, an interrupted copy is kept as .NAME.PART.phoenix-part beside DST. PART is a hash.
The next copy with --resume continues it if the source has not changed.

\b
With --verify fast, guest and host compare the fastest digest that both have: XXH64, CRC-32 of each
64 MiB, or SHA-256. Directories are not verified.

\b
With -r, all files get the permission bits and times of SRC, and links are kept. Nothing is written
outside DST: devices, FIFOs, sockets and links out of DST that a guest sends are skipped and listed
on stderr.

\b
Examples:
  $ phoenixctl cp web1:/etc/hosts ./hosts-of-web1
  $ phoenixctl cp 'web1:/var/log/*.gz' logs/
  $ phoenixctl cp index.html style.css web1:/srv/www/
  $ phoenixctl cp -r web1:/srv/www db1:/srv/
  $ phoenixctl cp site.conf 'web*:/etc/nginx/'
""",
)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=complete_path)
@click.argument("destination", metavar="DST", shell_complete=complete_path)
@click.option("-r", "-R", "--recursive", is_flag=True, help="Copy directories recursively.")
@click.option("-p", "--preserve", is_flag=True, help="Keep permissions, modification time and numeric owner of SRC.")
@click.option("--owners", is_flag=True, help="With -r: keep numeric owners if the receiver is root.")
@click.option("--xattrs", is_flag=True, help="Keep access control lists and extended attributes of SRC.")
@click.option("--all-xattrs", is_flag=True, help="As --xattrs, with those that only root can set, even from a guest.")
@click.option("--set-id", is_flag=True, help="With -r: keep set-user-ID and set-group-ID bits.")
@click.option("--resume", is_flag=True, help="Continue an interrupted copy, and keep the data if interrupted.")
@click.option(
    "--verify",
    type=click.Choice(["fast", "sha256", "none"]),
    default="fast",
    show_default=True,
    help="Digest of single files that both sides compare.",
)
@click.pass_obj
def command(
    options: Options,
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    preserve: bool,
    owners: bool,
    xattrs: bool,
    all_xattrs: bool,
    set_id: bool,
    resume: bool,
    verify: Verify,
) -> int:
    """Copy files and directories to, from and between guests, as scp(1) does."""
    origins = [CopyPlace.parse(word) for word in sources]
    target = CopyPlace.parse(destination)
    # Check all names before anything is copied.
    names = [origin.name for origin in origins]
    for name, origin in zip(names, origins):
        if not (name or recursive):
            raise click.UsageError(f"{origin.word} is a directory; use -r to copy it.")
        if origin.endpoint is None and target.endpoint is None:
            raise click.UsageError("SRC or DST must be GUEST:/PATH; use cp(1) for local copies.")
    if resume and (recursive or verify == "none"):
        raise click.UsageError("--resume works for single, verified files: omit -r and --verify none.")
    if resume and target.endpoint is not None and any(origin.endpoint is not None for origin in origins):
        raise click.UsageError("--resume does not work between guests.")
    form = CopyOptions(recursive, preserve, owners, set_id, "all" if all_xattrs else xattrs, resume, verify)
    if any(origin.endpoint is not None and not is_plain(origin.endpoint) for origin in origins):
        raise click.UsageError("SRC must be a single guest, because copies from several would overwrite each other.")
    if target.endpoint is not None and not is_plain(target.endpoint):
        if any(origin.endpoint is not None for origin in origins):
            raise click.UsageError("Only local files can be copied to several guests.")
        return _copy_to_several(options, form, origins, target)

    origins, target = [origin.resolved() for origin in origins], target.resolved()

    async def show(values: dict[str, Any]) -> None:
        if options.json:
            options.show(values, "")

    with ProgressDisplay(options) as display:
        return run(Copier(form, display, options.connect_to, show).copy_all(origins, target))


def _copy_to_several(options: Options, form: CopyOptions, origins: list[CopyPlace], target: CopyPlace) -> int:
    assert target.endpoint is not None
    # The progress bars of several guests would overwrite each other.
    display = ProgressDisplay(options, shown=False)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async def show(values: dict[str, Any]) -> None:
            await printer.result(values, "")

        copying = Copier(form, display, options.connect_among, show)
        return ended(await copying.copy_all(origins, replace(target, known=known)))

    return fan_out(options, select(target.endpoint), on_one)
