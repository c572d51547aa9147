"""The tables of `top`: all guests, and one in detail."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoenix_ga.cli.output import escape, short_size
from phoenix_ga.cli.top.figures import MODES, Figures

if TYPE_CHECKING:
    from phoenix_ga.cli.top.board import Board, Row
    from phoenix_ga.cli.top.figures import ProcessFigures

NO_VALUE: Final = "-"
TITLES: Final = ("guest", "cpu%", "mem%", "psi%", "read", "write", "recv", "send", "load", "up", "state")
# 80 columns leave 15 for the guest's name.
_WIDTHS: Final = (0, 5, 5, 5, 5, 5, 5, 5, 5, 6, 9)
_PROCESS_TITLES: Final = ("pid", "user", "cpu%", "rss", "s", "time", "command")
_PROCESS_WIDTHS: Final = (7, 10, 6, 5, 1, 8, 0)
# What is shown of a command, so that a hostile one costs nothing.
_COMMAND_MAX: Final = 300
_NAME_MAX: Final = 40
_DAY: Final = 86400
# From which share on a figure is yellow, and red.
_HIGH: Final = (70.0, 90.0)

GUEST_ORDER: Final = "guest"
# Orders of guests, the largest first. The first letter is the key.
ORDERS: Final[dict[str, Callable[[Figures], float]]] = {
    "cpu": lambda found: found.cpu or 0.0,
    "memory": lambda found: found.memory or 0.0,
    "pressure": lambda found: highest_pressure(found) or 0.0,
    "disk": lambda found: (found.disk_read or 0.0) + (found.disk_written or 0.0),
    "network": lambda found: (found.received or 0.0) + (found.sent or 0.0),
    "load": lambda found: found.load[0],
    "uptime": lambda found: float(found.uptime),
}
# Orders of processes, the first first.
PROCESS_ORDERS: Final[dict[str, Callable[[ProcessFigures], Any]]] = {
    "cpu": lambda found: (-found.cpu, -found.seconds),
    "memory": lambda found: -found.process.resident,
    "time": lambda found: -found.seconds,
    "pid": lambda found: found.process.pid,
}


def highest_pressure(found: Figures) -> float | None:
    """Return the highest pressure of all resources."""
    return max(found.pressure.values(), default=None)


def sort_rows(rows: Sequence[Row], order: str, backwards: bool) -> list[Row]:
    """Return rows in an order; those without figures come last, by name."""
    by_name = sorted(rows, key=lambda row: row.name, reverse=backwards and order == GUEST_ORDER)
    if order == GUEST_ORDER:
        return by_name
    value = ORDERS[order]
    told = [(row, row.figures) for row in by_name if row.figures is not None]
    told.sort(key=lambda pair: value(pair[1]), reverse=not backwards)
    return [row for row, _ in told] + [row for row in by_name if row.figures is None]


def cells(row: Row, silent: bool) -> tuple[str, ...]:
    """Return the cells of a guest below TITLES, not escaped."""
    found = row.figures
    state = "frozen" if found is not None and found.frozen else ""
    if silent:
        state = "silent" if found is not None else "no answer"
    if found is None:
        return (row.name, *[NO_VALUE] * 9, row.error or state)
    return (
        row.name,
        _share(found.cpu),
        _share(found.memory),
        _share(highest_pressure(found)),
        _rate(found.disk_read),
        _rate(found.disk_written),
        _rate(found.received),
        _rate(found.sent),
        f"{found.load[0]:.2f}" if found.load[0] < 100 else f"{found.load[0]:.0f}",
        up_for(found.uptime),
        state,
    )


class Screen(NamedTuple):
    """What fills the terminal. foot: for its last line."""

    parts: tuple[RenderableType, ...]
    foot: RenderableType


def overview(board: Board, rows: Sequence[Row], order: str, selected: Row | None, height: int) -> Screen:
    """Return the screen with all guests. height: in lines."""
    silent = {row for row in rows if board.is_silent(row)}
    frozen = sum(row.figures is not None and row.figures.frozen for row in rows)
    parts = [f"{len(rows)} guest{'s' * (len(rows) != 1)}"]
    parts += [f"{len(silent)} silent"] * bool(silent) + [f"{frozen} frozen"] * bool(frozen)
    head = _head(", ".join(parts), f"by {order}   {time.strftime('%H:%M:%S')}")
    table = _table(TITLES, (0, 10), _ORDER_COLUMNS[order], 0, _WIDTHS)
    room = max(height - 3, 1)
    place = rows.index(selected) if selected in rows else 0
    # The selected guest is in sight.
    first = max(0, min(place - room // 2, len(rows) - room))
    for row in rows[first : first + room]:
        table.add_row(*_styled(row, row in silent), style="reverse" if row is selected else "")
    return Screen((head, table), _foot(*ORDERS, GUEST_ORDER, more="Enter: details"))


def detail(board: Board, row: Row, order: str, backwards: bool, height: int) -> Screen:
    """Return the screen with one guest. height: in lines."""
    found = row.figures
    state = "frozen" if found is not None and found.frozen else ""
    if board.is_silent(row):
        state = row.error or "silent"
    head = _head(f"{_cut(row.name, _NAME_MAX)}  {state}", f"by {order}   {time.strftime('%H:%M:%S')}")
    parts: list[RenderableType] = [head]
    if found is not None:
        parts += [_line(label, text) for label, text in _summary(found)]
    if row.processes is not None:
        table = _table(_PROCESS_TITLES, (1, 4, 6), _PROCESS_COLUMNS[order], 6, _PROCESS_WIDTHS)
        room = max(height - len(parts) - 2, 1)
        for each in sorted(row.processes, key=PROCESS_ORDERS[order], reverse=backwards)[:room]:
            table.add_row(*map(Text, _process_cells(each)))
        parts.append(table)
    return Screen(tuple(parts), _foot(*PROCESS_ORDERS, more="Esc: back"))


def paint(console: Console, screen: Screen, height: int) -> str:
    """Return what shows a screen in place of the one before, on a terminal."""
    lines = _lines(console, Group(*screen.parts))[: height - 1]
    lines += [""] * (height - 1 - len(lines)) + _lines(console, screen.foot)
    # No newline after the last one, which would scroll.
    return "\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J"


def _lines(console: Console, part: RenderableType) -> list[str]:
    with console.capture() as capture:
        console.print(part, no_wrap=True, overflow="ellipsis")
    return capture.get().splitlines()


def up_for(seconds: int) -> str:
    """Return a duration in at most six characters, such as `3d04h`."""
    days, rest = divmod(seconds, _DAY)
    if days >= 1000:
        return f"{days}d"
    if days:
        return f"{days}d{rest // 3600:02d}h"
    return f"{rest // 3600}h{rest % 3600 // 60:02d}m" if rest >= 3600 else f"{rest // 60}m{rest % 60:02d}s"


_ORDER_COLUMNS: Final = {
    GUEST_ORDER: 0,
    "cpu": 1,
    "memory": 2,
    "pressure": 3,
    "disk": 4,
    "network": 6,
    "load": 8,
    "uptime": 9,
}
_PROCESS_COLUMNS: Final = {"pid": 0, "cpu": 2, "memory": 3, "time": 5}


def _summary(found: Figures) -> list[tuple[str, str]]:
    modes = "  ".join(f"{mode} {found.modes[mode]:.1f}" for mode in MODES if found.modes.get(mode, 0) >= 0.05)
    used = found.memory_total * (found.memory or 0) / 100
    swap = f"{short_size(found.swap_used)} of {short_size(found.swap_total)}" if found.swap_total else "none"
    load = " ".join(f"{value:.2f}" for value in found.load)
    pressure = "  ".join(f"{name} {value:.1f}%" for name, value in found.pressure.items())
    return [
        ("system", f"{_cut(found.os, 40)}  {_cut(found.kernel, 60)}  up {up_for(found.uptime)}"),
        ("cpu", f"{_share(found.cpu)}% of {found.cpus}  {modes}  load {load}"),
        ("memory", f"{_share(found.memory)}%  {short_size(used)} of {short_size(found.memory_total)}  swap {swap}"),
        ("pressure", pressure or "not known"),
        ("disk", f"read {_rate(found.disk_read)}/s  write {_rate(found.disk_written)}/s"),
        ("network", f"recv {_rate(found.received)}/s  send {_rate(found.sent)}/s"),
    ]


def _process_cells(each: ProcessFigures) -> tuple[str, ...]:
    process = each.process
    words = shlex.join(process.argv[:32]) if process.argv else f"[{process.name}]"
    return (
        str(process.pid),
        _cut(process.user or str(process.uid), _NAME_MAX),
        f"{each.cpu:.1f}",
        short_size(min(max(process.resident, 0), 2**63)),
        _cut(process.state, 1),
        f"{each.seconds // 60}:{each.seconds % 60:02d}",
        _cut(words, _COMMAND_MAX),
    )


def _table(titles: Sequence[str], left: Sequence[int], sorted_by: int, widest: int, widths: Sequence[int]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style="bold")
    for index, (title, width) in enumerate(zip(titles, widths)):
        table.add_column(
            Text(title, style="underline" if index == sorted_by else ""),
            justify="left" if index in left else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if index == widest else None,
            width=None if index == widest else width,
        )
    return table


def _styled(row: Row, silent: bool) -> list[Text]:
    texts = [Text(_cut(cell, _NAME_MAX), style="dim" if silent else "") for cell in cells(row, silent)]
    found = row.figures
    if found is not None and not silent:
        for place, share in ((1, found.cpu), (2, found.memory), (3, highest_pressure(found))):
            if share is not None and share >= _HIGH[0]:
                texts[place].style = "red" if share >= _HIGH[1] else "yellow"
        if found.frozen:
            texts[-1].style = "cyan"
    return texts


def _head(left: str, right: str) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(Text(f"phoenixctl top  {escape(left)}", style="bold"), Text(right))
    return grid


def _line(label: str, text: str) -> RenderableType:
    return Text(f"{label:<9} {escape(text)}", no_wrap=True, overflow="ellipsis")


def _foot(*orders: str, more: str) -> RenderableType:
    """Return the words whose first letters are keys."""
    words = [(name, 1) for name in (*orders, "reverse")] + [(f" {more} ", 0), ("quit", 1)]
    text = Text(style="dim")
    for word, letters in words:
        text.append(" " * bool(text))
        text.append(word[:letters], style="bold underline")
        text.append(word[letters:])
    return text


def _share(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.1f}"


def _rate(value: float | None) -> str:
    return NO_VALUE if value is None else short_size(value)


def _cut(text: str, length: int) -> str:
    text = escape(text[:length])
    return text if len(text) <= length else text[:length]
