"""`phoenixctl ps`"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.completion import complete_user
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import moment, short_size, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, ProcessList, SystemProcess

_ORDERS: Final[dict[str, Callable[[SystemProcess], Any]]] = {
    "pid": lambda process: process.pid,
    "cpu": lambda process: -process.cpu_ticks,
    "memory": lambda process: -process.resident,
    "started": lambda process: process.started,
    "user": lambda process: (process.user, process.uid, process.pid),
}
_TITLES: Final = ("user", "pid", "cpu", "mem", "rss", "state", "started", "time", "command")
_DAY: Final = 86400


@verb(
    short_help="List the processes of the guest.",
    epilog="""\b
`cpu` is the share of one CPU that the process has used since it started, `time` its CPU time in
minutes and seconds, `rss` its memory. `--sort cpu` and `--sort memory` put the largest first. A
name in brackets is a thread of the kernel. On a terminal, long lines are cut unless -w is given.

\b
Examples:
  $ phoenixctl ps web1
  $ phoenixctl ps -u root --sort memory web1
""",
)
@GUEST
@click.option(
    "-u",
    "--user",
    metavar="USER",
    help="Only processes of this user: a name, or a number.",
    shell_complete=complete_user,
)
@click.option("--sort", "order", type=click.Choice(list(_ORDERS)), default="pid", help="Order. Default: pid.")
@click.option("-w", "--wide", is_flag=True, help="Do not cut long lines.")
@click.pass_obj
def command(options: Options, guest: str, user: str | None, order: str, wide: bool) -> int:
    """List the processes of the guest, as ps(1) does, whoever started them."""
    width = shutil.get_terminal_size().columns if os.isatty(1) and not wide else None

    async def work(connected: Guest) -> ProcessList:
        return await connected.processes.list_all()

    def describe(found: ProcessList) -> tuple[Any, str]:
        from dataclasses import asdict, replace

        chosen = [each for each in found.processes if user is None or user in (each.user, str(each.uid))]
        shown = replace(found, processes=tuple(sorted(chosen, key=_ORDERS[order])))
        return asdict(shown), _as_text(shown, width)

    return each_guest(options, guest, work, describe)


def _as_text(found: ProcessList, width: int | None) -> str:
    text = titled_table(_TITLES, [_row(process, found) for process in found.processes], "no processes")
    if width is not None:
        first, *rest = text.split("\n")
        text = "\n".join([first, *(line[:width] for line in rest)])
    return f"{text}\n{found.omitted} more processes are not shown" if found.omitted else text


def _row(process: SystemProcess, found: ProcessList) -> tuple[str, ...]:
    seconds = process.cpu_ticks / found.ticks_per_second if found.ticks_per_second > 0 else 0.0
    age = found.time - process.started
    cpu = f"{100 * seconds / age:.1f}" if age > 0 else "0.0"
    memory = f"{100 * process.resident / found.memory:.1f}" if found.memory > 0 else "-"
    started = moment(process.started, "%H:%M" if 0 <= age < _DAY else "%Y-%m-%d")
    time = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    words = shlex.join(process.argv) if process.argv else f"[{process.name}]"
    size = short_size(max(process.resident, 0))
    user = process.user or str(process.uid)
    return (user, str(process.pid), cpu, memory, size, process.state, started, time, words)
