"""`phoenixctl truncate`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@verb(
    short_help="Set the size of files in the guest.",
    epilog="""\b
SIZE is in bytes; the suffixes K, M, G and T are powers of 1024. Data beyond SIZE is lost. A file
that grows gets a hole. A missing file is created, unless -c is given.

\b
Examples:
  $ phoenixctl truncate -s 0 web1:/var/log/site.log
  $ phoenixctl truncate -s 10G web1:/srv/disk.img
""",
)
@PATHS
@click.option("-s", "--size", metavar="SIZE", required=True, help="The new size.")
@click.option("-c", "--no-create", is_flag=True, help="Do not create missing files.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], size: str, no_create: bool) -> int:
    """Set the size of files in the guest, as truncate(1) does."""
    number, unit = (size[:-1], size[-1:]) if size[-1:] in _UNITS else (size, "")
    if not (number.isascii() and number.isdecimal()) or int(number) * _UNITS[unit] >= 2**63:
        raise click.UsageError(f"SIZE {size!r} is not a number of bytes, such as 4096 or 10G.")
    length = int(number) * _UNITS[unit]

    async def work(guest: Guest, path: str) -> None:
        try:
            await guest.files.truncate(path, length)
        except FileNotFoundError:
            if no_create:
                return
            async with guest.open(path, "wb"):
                pass
            await guest.files.truncate(path, length)

    return each_path(options, paths, work, lambda path, _: ({"path": path}, ""))
