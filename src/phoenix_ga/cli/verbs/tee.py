"""`phoenixctl tee`"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

import click

from phoenix_ga.cli import stdio
from phoenix_ga.cli.completion import complete_guest_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest


@verb(
    short_help="Write stdin to a file in the guest.",
    epilog="""\b
The file is replaced atomically when stdin ends. If that fails or is interrupted, the old file
stays. An existing file keeps its owner, permissions, access control list and other attributes.
For several guests, stdin is first copied to a temporary file.

\b
Example:
  $ generate-config | phoenixctl tee web1:/etc/app.conf > /dev/null
""",
)
@click.argument("file", metavar="GUEST:/PATH", shell_complete=complete_guest_path)
@click.option(
    "-m", "--mode", metavar="MODE", help="Permissions in octal. Default: those of the existing file, or 644."
)
@click.pass_obj
def command(options: Options, file: str, mode: str | None) -> int:
    """Write stdin to a file in the guest and to stdout."""
    words, path = guest_path(file)
    try:
        permissions = None if mode is None else int(mode, 8)
    except ValueError:
        raise click.UsageError(f"{mode!r} is not an octal number.") from None
    if not is_plain(words):
        return _write_to_several(options, words, path, permissions)

    async def work(guest: Guest) -> None:
        from phoenix_ga.cli.streams import unless_failed

        source, output = stdio.Input(), stdio.Output()
        async with guest.open(path, "wb", permissions) as target:
            # stdin may give nothing for a long time.
            while data := await unless_failed(target.wait_failed(), source.read()):
                await target.write(data)
                await output.write(data)

    ask(options, words, work)
    return 0


def _write_to_several(options: Options, words: str, path: str, permissions: int | None) -> int:
    import tempfile

    guests = select(words)

    async def copy_stdin(file: IO[bytes]) -> None:
        source, output = stdio.Input(), stdio.Output()
        while data := await source.read():
            file.write(data)
            await output.write(data)
        file.flush()

    # The directory is private: the file has the permissions that a new file in a guest gets.
    with tempfile.TemporaryDirectory() as directory, open(os.path.join(directory, "stdin"), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        run(copy_stdin(file))

        async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
            async with options.connect_among(known) as guest:
                await guest.put(file.name, path, permissions=permissions)
            await printer.result({"path": path}, "")
            return DONE

        return fan_out(options, guests, on_one)
