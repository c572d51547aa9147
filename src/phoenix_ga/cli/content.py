"""The verbs `cat`, `tee`, `md5sum` and `sha256sum`: what is in files of the guest."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from typing import IO, TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options, run
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.path_completion import complete_guest_path
from phoenix_ga.cli.paths import each_path, each_place, guest_path, on_several
from phoenix_ga.cli.selection import is_plain, select

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest


# What a guest reads at the least, in bytes a second, and how long it may take at the most, in seconds.
_DIGEST_SPEED = 10_000_000
_DIGEST_TIME_MAX = 86400.0

_FILES = click.argument(
    "files", metavar="GUEST:/PATH...", nargs=-1, required=True, shell_complete=complete_guest_path
)


@click.command(
    epilog="""\b
Of several guests, each line has the name of its guest before it, and control characters are
shown as escapes.

\b
Examples:
  $ phoenixctl cat unix:/run/web1.sock:/etc/hosts unix:/run/web2.sock:/etc/hosts
  $ phoenixctl cat 'web*:/etc/hostname'
"""
)
@_FILES
@click.pass_obj
def cat(options: Options, files: tuple[str, ...]) -> int:
    """Write what is in files of the guest to stdout, as it is."""
    from phoenix_ga.cli import stdio

    places = [guest_path(word) for word in files]
    if all(is_plain(guest) for guest, _ in places):
        output = stdio.Output()

        async def write(guest: Guest, path: str) -> int:
            await _read(guest, path, output.write)
            return 0

        return run(each_place(options, places, write))

    from phoenix_ga.cli.voice import Lines, Voice

    async def print_lines(guest: Guest, path: str, voice: Voice) -> int:
        lines = Lines(voice)
        try:
            await _read(guest, path, lines.add)
        finally:
            await lines.end()
        return 0

    return on_several(options, places, print_lines)


async def _read(guest: Guest, path: str, take: Callable[[bytes], Awaitable[None]]) -> None:
    async with (await guest.file_get(path, digest=False)).stream as stream:
        while data := await stream.read():
            await take(data)


@click.command(
    epilog="""\b
The file appears when stdin has come to its end, whole; until then, and where that fails or is
interrupted, what was there stays. A file that is replaced keeps its owner. For several guests,
stdin is kept in a temporary file first.

\b
Example:
  $ generate-config | phoenixctl tee unix:/run/web1.sock:/etc/app.conf > /dev/null
"""
)
@click.argument("file", metavar="GUEST:/PATH", shell_complete=complete_guest_path)
@click.option("-m", "--mode", default="644", metavar="MODE", help="Permissions of the file, in octal. Default: 644.")
@click.pass_obj
def tee(options: Options, file: str, mode: str) -> int:
    """Write stdin to a file of the guest, and to stdout."""
    from phoenix_ga.cli import stdio

    words, path = guest_path(file)
    try:
        permissions = int(mode, 8)
    except ValueError:
        raise click.UsageError(f"{mode!r} is no octal number.") from None
    if not is_plain(words):
        return _tee_to_several(options, words, path, permissions)

    async def work(guest: Guest) -> None:
        source, output = stdio.Input(), stdio.Output()
        async with await guest.open(path, "wb", permissions) as target:
            while data := await source.read():
                await target.write(data)
                await output.write(data)

    options.ask(words, work)
    return 0


def _tee_to_several(options: Options, words: str, path: str, permissions: int) -> int:
    import tempfile

    from phoenix_ga.cli import stdio
    from phoenix_ga.cli.tally import DONE, Outcome
    from phoenix_ga.cli.voice import Voice

    guests = select(words)

    async def keep(file: IO[bytes]) -> None:
        source, output = stdio.Input(), stdio.Output()
        while data := await source.read():
            file.write(data)
            await output.write(data)
        file.flush()

    with tempfile.NamedTemporaryFile() as file:
        run(keep(file))

        async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
            async with options.connect_among(known) as guest:
                await guest.put(file.name, path, mode=permissions)
            await voice.result({"path": path}, "")
            return DONE

        return options.fan_out(guests, on_one)


@click.command(
    epilog="""\b
Example:
  $ phoenixctl sha256sum unix:/run/web1.sock:/bin/ls
"""
)
@_FILES
@click.pass_obj
def sha256sum(options: Options, files: tuple[str, ...]) -> int:
    """Print the SHA-256 of files of the guest, which computes them."""

    async def work(guest: Guest, path: str) -> str:
        return await (await _with_time(options, guest, path)).get_file_sha256sum(path)

    return each_path(options, files, work, lambda path, digest: _digest("sha256", path, digest))


@click.command(
    epilog="""\b
Example:
  $ phoenixctl md5sum unix:/run/web1.sock:/bin/ls
"""
)
@_FILES
@click.pass_obj
def md5sum(options: Options, files: tuple[str, ...]) -> int:
    """Print the MD5 of files of the guest, which computes them."""

    async def work(guest: Guest, path: str) -> str:
        return await (await _with_time(options, guest, path)).get_file_md5sum(path)

    return each_path(options, files, work, lambda path, digest: _digest("md5", path, digest))


async def _with_time(options: Options, guest: Guest, path: str) -> Guest:
    """Return the guest with a time-out that is long enough to read the file, unless the user gave one."""
    from phoenix_ga.client import GuestRefused

    if options.timeout is not None:
        return guest
    try:
        status = await guest.file_stat(path, follow=True)
    except GuestRefused:
        # What is asked for will be refused as well, or needs no permission for this.
        return guest
    return guest.with_timeout(digest_time(status.size, stat.S_ISBLK(status.mode & 0o177777)))


def digest_time(size: int, is_device: bool) -> float:
    """Return how long a slow guest may read a file, in seconds. is_device: its size, in bytes, is unknown."""
    from phoenix_ga.client import CALL_TIMEOUT

    return _DIGEST_TIME_MAX if is_device else min(CALL_TIMEOUT + max(size, 0) / _DIGEST_SPEED, _DIGEST_TIME_MAX)


def _digest(algorithm: str, path: str, digest: str) -> tuple[dict[str, Any], str]:
    return {"path": path, algorithm: digest}, f"{escape(digest)}  {escape(path)}"
