"""Draw the pictures of `phoenixctl top` in docs/: python -m tools.top_picture [DIRECTORY]"""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.top.board import Board, Row
from phoenix_ga.cli.top.figures import Figures, ProcessFigures
from phoenix_ga.cli.top.screen import Screen, detail, overview, sort_rows
from phoenix_ga.client import SystemProcess
from phoenix_ga.client.discovery import KnownGuest

ROOT: Final = Path(__file__).parent.parent
_HEIGHT: Final = 18
_MIB: Final = 1 << 20
# Name, busy, memory, pressure, rates in MiB/s, load, hours up, frozen.
_GUESTS: Final[tuple[tuple[str, float, float, float, tuple[float, float, float, float], float, int, bool], ...]] = (
    ("web1", 31.5, 42.0, 2.4, (0.0, 0.4, 1.6, 22.0), 0.92, 700, False),
    ("web2", 28.1, 41.3, 1.9, (0.0, 0.4, 1.5, 20.6), 0.85, 700, False),
    ("db1", 78.4, 88.6, 24.0, (38.0, 61.0, 4.2, 9.1), 5.31, 2110, False),
    ("db2", 6.2, 71.9, 0.0, (0.1, 8.3, 3.9, 0.2), 0.31, 2108, True),
    ("mail", 3.4, 33.0, 0.0, (0.0, 0.1, 0.1, 0.3), 0.08, 95, False),
    ("build", 97.9, 55.0, 61.0, (2.1, 140.0, 0.3, 0.1), 9.70, 12, False),
)
_PROCESSES: Final = (
    (1412, "postgres", 71.0, 3900, "R", 5310, ["postgres:", "main:", "checkpointer"]),
    (9120, "postgres", 44.5, 810, "D", 62, ["postgres:", "main:", "app", "app", "10.0.0.5(41022)", "SELECT"]),
    (9188, "postgres", 38.2, 790, "S", 55, ["postgres:", "main:", "app", "app", "10.0.0.6(50144)", "idle"]),
    (702, "root", 0.4, 21, "S", 812, ["/usr/bin/prometheus-node-exporter"]),
    (1, "root", 0.0, 13, "S", 44, ["/sbin/init"]),
)


def _figures(guest: tuple[Any, ...]) -> Figures:
    _, cpu, memory, pressure, rates, load, hours, frozen = guest
    modes = {"user": cpu * 0.7, "system": cpu * 0.3, "iowait": pressure / 2}
    waited = {"cpu": pressure / 3, "io": pressure, "memory": 0.0}
    disk_read, disk_written, received, sent = (rate * _MIB for rate in rates)
    return Figures(
        *(4, cpu, modes, memory, 16384 * _MIB, 0, 0, waited, disk_read, disk_written, received, sent),
        *((load, load * 0.9, load * 0.8), frozen, hours * 3600, "Linux 6.1.0-40-amd64"),
        "Debian GNU/Linux 12 (bookworm)",
    )


def _process(values: tuple[Any, ...]) -> ProcessFigures:
    pid, user, cpu, resident, state, seconds, argv = values
    process = SystemProcess(pid, 1, 0, user, state, 0, 1, seconds * 100, 0, 0, resident * _MIB, argv[0], tuple(argv))
    return ProcessFigures(process, cpu, seconds)


def _write(screen: Screen, path: Path) -> None:
    console = Console(
        file=io.StringIO(), width=80, record=True, force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(Group(*screen.parts, screen.foot), no_wrap=True, overflow="ellipsis")
    text = console.export_svg(title="phoenixctl top", unique_id="top")
    # A reader's browser need not fetch fonts.
    text = re.sub(r"@font-face \{.*?\}", "", text, flags=re.DOTALL)
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def main() -> None:
    """Draw both pictures."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    names = [guest[0] for guest in _GUESTS]
    guests = [KnownGuest(name, f"unix:/run/{name}.sock", "") for name in (*names, "old")]
    board = Board(Options(), guests, 2.0)
    rows: dict[str, Row] = {row.name: row for row in board.rows}
    for guest in _GUESTS:
        rows[guest[0]].figures = _figures(guest)
        rows[guest[0]].since = time.monotonic()
    rows["db1"].processes = [_process(values) for values in _PROCESSES]
    _write(overview(board, sort_rows(board.rows, "cpu", False), "cpu", rows["db1"], _HEIGHT), directory / "top.svg")
    _write(detail(board, rows["db1"], "cpu", False, _HEIGHT), directory / "top-detail.svg")


if __name__ == "__main__":
    main()
