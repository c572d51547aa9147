"""The verbs `cat`, `tee` and `sha256sum`: what is in files of the guest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.copy import split_guest_path
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest


def guest_path(word: str) -> tuple[str, str]:
    """Return endpoint and path of GUEST:/PATH. Raises UsageError."""
    found = split_guest_path(word)
    if found is None:
        raise click.UsageError(f"{word} is not of the form GUEST:/PATH.")
    return found


@click.command(
    epilog="""\b
Example:
  $ phoenixctl cat unix:/run/web1.sock:/etc/hosts unix:/run/web2.sock:/etc/hosts
"""
)
@click.argument("files", metavar="GUEST:/PATH...", nargs=-1, required=True)
@click.pass_obj
def cat(options: Options, files: tuple[str, ...]) -> None:
    """Write what is in files of the guest to stdout, as it is."""
    from phoenix_ga.cli import stdio

    for endpoint, path in [guest_path(word) for word in files]:

        async def work(guest: Guest, path: str = path) -> None:
            output = stdio.Output()
            async with (await guest.file_get(path, digest=False)).stream as stream:
                while data := await stream.read():
                    await output.write(data)

        options.ask(endpoint, work)


@click.command(
    epilog="""\b
The file appears when stdin has come to its end, whole; until then, and where that fails or is
interrupted, what was there stays. A file that is replaced keeps its owner.

\b
Example:
  $ generate-config | phoenixctl tee unix:/run/web1.sock:/etc/app.conf > /dev/null
"""
)
@click.argument("file", metavar="GUEST:/PATH")
@click.option("-m", "--mode", default="644", metavar="MODE", help="Permissions of the file, in octal. Default: 644.")
@click.pass_obj
def tee(options: Options, file: str, mode: str) -> None:
    """Write stdin to a file of the guest, and to stdout."""
    from phoenix_ga.cli import stdio

    endpoint, path = guest_path(file)
    try:
        permissions = int(mode, 8)
    except ValueError:
        raise click.UsageError(f"{mode!r} is no octal number.") from None

    async def work(guest: Guest) -> None:
        source, output = stdio.Input(), stdio.Output()
        async with await guest.open(path, "wb", permissions) as target:
            while data := await source.read():
                await target.write(data)
                await output.write(data)

    options.ask(endpoint, work)


@click.command(
    epilog="""\b
Example:
  $ phoenixctl sha256sum unix:/run/web1.sock:/bin/ls
"""
)
@click.argument("files", metavar="GUEST:/PATH...", nargs=-1, required=True)
@click.pass_obj
def sha256sum(options: Options, files: tuple[str, ...]) -> None:
    """Print the SHA-256 of files of the guest, which computes them."""
    for endpoint, path in [guest_path(word) for word in files]:
        digest = options.ask(endpoint, lambda guest, path=path: guest.get_file_sha256sum(path))  # type: ignore[misc]
        if options.json:
            click.echo(json.dumps({"path": path, "sha256": digest}))
        else:
            click.echo(f"{escape(digest)}  {escape(path)}")
