"""The verb `cp`: one file, from or to a guest."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Optional

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, Transferred

Progress = Callable[[int, Optional[int]], None]


def split_guest_path(word: str) -> tuple[str, str] | None:
    """Return endpoint and path of GUEST:PATH, or None where `word` is a local path.

    The path is absolute, so the first `:/` behind the endpoint's kind is where it begins: what an
    endpoint is made of cannot hold `:/`, and the path can hold anything.
    """
    from phoenix_ga.client.endpoints import KINDS

    kind, colon, _ = word.partition(":")
    start = len(kind) + 1 if colon and kind in KINDS else 0
    split = word.find(":/", start)
    if split <= start:
        if start:
            raise click.UsageError(f"{word} names no file; write {kind}:ADDRESS:/PATH/IN/THE/GUEST.")
        return None
    return word[:split], word[split + 1 :]


@click.command(
    epilog="""\b
One of SRC and DST is GUEST:PATH, with an absolute PATH in the guest; what has no `:/` in it is
a local file. A destination that is a directory gets a file of the same name. The permission
bits and holes are kept. The file appears at the destination whole, or not at all.

\b
Examples:
  $ phoenixctl cp unix:/run/web1.sock:/etc/hosts ./hosts-of-web1
  $ phoenixctl cp ./index.html /run/web1.sock:/srv/www/
"""
)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--no-verify", is_flag=True, help="Do not compare the SHA-256 of both sides.")
@click.pass_obj
def cp(options: Options, source: str, destination: str, no_verify: bool) -> None:
    """Copy a file from the guest, or to it, as scp does."""
    there, here = split_guest_path(source), split_guest_path(destination)
    if (there is None) == (here is None):
        raise click.UsageError("One of SRC and DST must be GUEST:/PATH, the other a local file.")
    start = time.perf_counter()
    with _progress(options, os.path.basename(source)) as progress:
        if there is not None:
            result = _get(options, there, destination, not no_verify, progress)
        else:
            assert here is not None
            result = _put(options, source, here, not no_verify, progress)
    seconds = time.perf_counter() - start
    if options.json:
        values = {
            "bytes": result.size,
            "seconds": round(seconds, 3),
            "sha256": result.sha256,
            "verified": result.verified,
        }
        options.show(values, "")


def _get(
    options: Options, remote: tuple[str, str], local: str, verify: bool, progress: Progress | None
) -> Transferred:
    endpoint, path = remote
    if os.path.isdir(local):
        local = os.path.join(local, _base_name(path))

    async def work(guest: Guest) -> Transferred:
        return await guest.get(path, local, verify=verify, progress=progress)

    return options.ask(endpoint, work)


def _put(
    options: Options, local: str, remote: tuple[str, str], verify: bool, progress: Progress | None
) -> Transferred:
    endpoint, path = remote

    async def work(guest: Guest) -> Transferred:
        target = path
        if await _is_directory(guest, path):
            target = path.rstrip("/") + "/" + _base_name(local)
        return await guest.put(local, target, verify=verify, progress=progress)

    return options.ask(endpoint, work)


async def _is_directory(guest: Guest, path: str) -> bool:
    from phoenix_ga.client import GuestRefused

    try:
        # With a dot behind it, a symbolic link to a directory is followed.
        return (await guest.file_stat(path.rstrip("/") + "/.")).is_directory
    except GuestRefused as error:
        if path.endswith("/") or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise
        return False


def _base_name(path: str) -> str:
    name = os.path.basename(path)
    if name in ("", ".", ".."):
        raise click.UsageError(f"{path} is a directory; cp copies one file at a time.")
    return name


@contextlib.contextmanager
def _progress(options: Options, name: str) -> Iterator[Progress | None]:
    """Show how far a copy is, where somebody looks at a terminal."""
    if options.json or options.verbose or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    bar = Bar(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )
    with bar:
        task = bar.add_task("", total=None)
        bar.console.print(Text(escape(name)))

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield show
