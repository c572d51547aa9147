"""`phoenixctl kill`"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import REFUSED, complain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_NUMBER_MAX = 64


@verb(
    short_help="Send a signal to processes of the guest.",
    epilog="""\b
SIGNAL is a name such as HUP or SIGHUP, or a number. If one of several processes cannot be
signalled, the others still are, and the exit status is 1.

\b
Examples:
  $ phoenixctl kill web1 4711
  $ phoenixctl kill -s HUP web1 4711
""",
)
@GUEST
@click.argument("pids", metavar="PID...", nargs=-1, required=True, type=click.IntRange(1, 2**31 - 1))
@click.option("-s", "--signal", "name", metavar="SIGNAL", default="TERM", help="The signal. Default: TERM.")
@click.pass_obj
def command(options: Options, guest: str, pids: tuple[int, ...], name: str) -> int:
    """Send a signal to processes of the guest; see ps for their numbers."""
    number = _signal_number(name)

    async def work(connected: Guest) -> list[int]:
        from phoenix_ga.client import CommandError

        failed = []
        for pid in pids:
            try:
                await connected.processes.send_signal(pid, number)
            except CommandError as error:
                if len(pids) == 1:
                    raise
                complain(f"process {pid}: {error.text}", REFUSED)
                failed.append(pid)
        return failed

    def describe(failed: list[int]) -> tuple[Any, str]:
        return {"signal": number, "pids": [pid for pid in pids if pid not in failed]}, ""

    return each_guest(options, guest, work, describe, lambda failed: REFUSED if failed else 0)


def _signal_number(name: str) -> int:
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= _NUMBER_MAX:
        return int(name)
    found = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(found, signal.Signals):
        raise click.UsageError(f"{name!r} is not a signal, such as TERM, HUP or 9.")
    return found.value
