"""`phoenixctl top`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import PARALLEL, Options
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.output import titled_table, to_json
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.cli.top.board import Board


@verb(
    short_help="Watch how busy guests are.",
    epilog="""\b
psi% is the highest share of the last 10 s in which some task waited for a CPU, memory or the
disk. read, write, recv and send are bytes per second, of disks and network hardware. `silent`
marks a guest whose answer is late. Without GUEST, all guests are shown.

\b
Keys:
  c m p d n l u g   sort by cpu, memory, pressure, disk, network, load, uptime, guest
  r                 reverse the order
  Up Down Enter     choose a guest, and show it in detail, with its processes
  Esc               go back to the table
  q, Ctrl-C         quit

If stdout is no terminal, or with -n, tables are printed instead; -n 1 prints one.

\b
Examples:
  $ phoenixctl top
  $ phoenixctl top -n 1 --sort memory 'web*'
  $ phoenixctl top -i 1 web1
""",
)
@click.argument("guests", nargs=-1, metavar="[GUEST...]", shell_complete=complete_guest)
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.2, max=3600),
    default=2.0,
    metavar="SECONDS",
    help="Time between two readings. Default: 2.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["cpu", "memory", "pressure", "disk", "network", "load", "uptime", "guest"]),
    default="cpu",
    help="Order. Default: cpu.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="Print so many tables, and end.")
@click.option("--once", "count", flag_value=1, type=int, help="The same as -n 1.")
@click.pass_obj
def command(options: Options, guests: tuple[str, ...], interval: float, order: str, count: int | None) -> int:
    """Show CPU, memory, pressure, disk and network rates, load and uptime of guests, and again and again."""
    from phoenix_ga.cli.fanout import raise_file_limit
    from phoenix_ga.cli.running import run
    from phoenix_ga.cli.top.board import Board
    from phoenix_ga.cli.top.live import Live, is_possible

    words = ",".join(guests) or "*"
    selected = select(words)
    parallel = raise_file_limit(max(PARALLEL, len(selected)))
    if parallel < len(selected):
        raise click.UsageError(f"The limit of open files allows {parallel} guests, but {len(selected)} are selected.")
    live = count is None and not options.json and not options.verbose and is_possible()
    options = replace(options, parallel=parallel)

    async def watch() -> int:
        async with Board(options, selected, interval) as board:
            if not live:
                return await _print_tables(options, board, order, count or 1)
            await Live(board, order, board.rows[0] if is_plain(words) else None).run()
        return 0

    return run(watch())


async def _print_tables(options: Options, board: Board, order: str, count: int) -> int:
    """Print tables; return the exit status."""
    import asyncio
    from dataclasses import asdict

    from phoenix_ga.cli.top.screen import TITLES, cells, sort_rows

    changed = asyncio.Event()
    board.changed = lambda row: changed.set()
    # Rates need two readings. A guest that cannot be asked is not waited for again.
    while not all(row.answers > 1 or row.failures for row in board.rows):
        await changed.wait()
        changed.clear()
    for number in range(count):
        if number:
            await asyncio.sleep(board.interval)
        rows = sort_rows(board.rows, order, backwards=False)
        silent = {row for row in rows if board.is_silent(row)}
        if options.json:
            for row in rows:
                error = {"text": row.error or "the answer is late", "status": row.status}
                figures = {"result": asdict(row.figures)} if row.figures and row not in silent else {"error": error}
                click.echo(to_json({"guest": row.name, **figures}))
        else:
            shown = [cells(row, row in silent) for row in rows if row.figures]
            click.echo("\n" * bool(number) + titled_table(TITLES, shown, "no guest answers"))
            for row in rows:
                if row.error:
                    complain(row.error, row.status, row.name)
    return max(row.status for row in board.rows)
