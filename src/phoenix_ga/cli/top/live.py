"""The screen of `top` on a terminal: keys, and a picture at each interval."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from phoenix_ga.cli import stdio, terminal
from phoenix_ga.cli.top.screen import GUEST_ORDER, ORDERS, PROCESS_ORDERS, detail, overview, paint, sort_rows

if TYPE_CHECKING:
    from phoenix_ga.cli.top.board import Board, Row

# The alternate screen without a cursor, and back.
_ENTER: Final = b"\x1b[?1049h\x1b[?25l"
_LEAVE: Final = b"\x1b[?25h\x1b[?1049l"
_LEAVE_TIME: Final = 1.0
_KEYS: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"k": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"j": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\r": "open",
    b"\n": "open",
    b"\x1b[C": "open",
    b"\x1b": "back",
    b"\x1b[D": "back",
    b"\x7f": "back",
    b"r": "reverse",
    b"q": "quit",
    b"Q": "quit",
    b"": "quit",
}
_READ_SIZE: Final = 64


class Live:
    """Shows a board until the user quits.

    Args:
        order: a name of ORDERS, or GUEST_ORDER.
        row: what to show in detail at first.
    """

    def __init__(self, board: Board, order: str, row: Row | None) -> None:
        self._board = board
        self._order = order
        self._process_order = "cpu"
        self._backwards = False
        self._selected = board.rows[0] if board.rows else None
        self._board.detailed = row
        self._rows: list[Row] = []
        self._ended = asyncio.Event()
        self._due = asyncio.Event()
        self._output = stdio.Output()
        self._before: list[Any] = []

    async def run(self) -> None:
        """Show it. The terminal is restored at the end, and while the program is stopped."""
        loop = asyncio.get_running_loop()
        self._board.changed = self._answered
        self._enter()
        loop.add_reader(stdio.STDIN, self._read_key)
        loop.add_signal_handler(signal.SIGWINCH, self._due.set)
        loop.add_signal_handler(signal.SIGTSTP, self._stop)
        try:
            await self._draw()
        finally:
            loop.remove_reader(stdio.STDIN)
            for number in (signal.SIGWINCH, signal.SIGTSTP):
                loop.remove_signal_handler(number)
            # After what is being written, unless the terminal takes nothing: then it is not waited for.
            termios.tcflow(stdio.STDOUT, termios.TCOON)
            await asyncio.wait([asyncio.ensure_future(self._output.write(_LEAVE))], timeout=_LEAVE_TIME)
            termios.tcsetattr(stdio.STDIN, termios.TCSANOW, self._before)

    async def _draw(self) -> None:
        while not self._ended.is_set():
            rows, columns = terminal.size()
            self._rows = sort_rows(self._board.rows, self._order, self._backwards)
            console = Console(width=columns, height=rows, force_terminal=True, highlight=False)
            row = self._board.detailed
            if row is None:
                screen = overview(self._board, self._rows, self._order, self._selected, rows)
            else:
                screen = detail(self._board, row, self._process_order, self._backwards, rows)
            # A thread writes: a terminal that was stopped by Ctrl-S must not keep the program from ending.
            await self._output.write(paint(console, screen, rows).encode(errors="replace"))
            self._due.clear()
            try:
                await asyncio.wait_for(self._due.wait(), self._board.interval)
            except asyncio.TimeoutError:
                continue

    def _answered(self, row: Row) -> None:
        # The user waits for these; others are shown at the next interval.
        if row is self._board.detailed or row.answers <= 1:
            self._due.set()

    def _read_key(self) -> None:
        try:
            data = os.read(stdio.STDIN, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        key = _KEYS.get(data, "")
        action: Callable[[], None] | None = getattr(self, f"_key_{key.replace(' ', '_')}", None) if key else None
        if action is not None:
            action()
        else:
            self._choose_order(data.decode("ascii", "replace"))
        self._due.set()

    def _choose_order(self, key: str) -> None:
        if self._board.detailed is None:
            self._order = next((name for name in (*ORDERS, GUEST_ORDER) if name[0] == key), self._order)
        else:
            self._process_order = next((name for name in PROCESS_ORDERS if name[0] == key), self._process_order)

    def _key_up(self) -> None:
        self._move(-1)

    def _key_down(self) -> None:
        self._move(1)

    def _key_page_up(self) -> None:
        self._move(-(terminal.size()[0] - 4))

    def _key_page_down(self) -> None:
        self._move(terminal.size()[0] - 4)

    def _key_open(self) -> None:
        if self._board.detailed is None:
            self._board.detailed = self._selected

    def _key_back(self) -> None:
        self._board.detailed = None

    def _key_reverse(self) -> None:
        self._backwards = not self._backwards

    def _key_quit(self) -> None:
        self._ended.set()

    def _move(self, places: int) -> None:
        if self._rows and self._board.detailed is None:
            place = self._rows.index(self._selected) if self._selected in self._rows else 0
            self._selected = self._rows[min(max(place + places, 0), len(self._rows) - 1)]

    def _stop(self) -> None:
        """Stop as Ctrl-Z does, with the terminal as it was; draw again afterwards."""
        os.write(stdio.STDOUT, _LEAVE)
        termios.tcsetattr(stdio.STDIN, termios.TCSANOW, self._before)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
        self._due.set()

    def _enter(self) -> None:
        self._before = termios.tcgetattr(stdio.STDIN)
        tty.setcbreak(stdio.STDIN, termios.TCSANOW)
        os.write(stdio.STDOUT, _ENTER)


def is_possible() -> bool:
    """Return whether stdin and stdout are a terminal that can show it."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
