"""The user's terminal, for programs in the guest."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from phoenix_ga.cli.stdio import STDIN, STDOUT


def size() -> tuple[int, int]:
    """Return rows and columns of the terminal, or 24 and 80 without one."""
    for fd in (STDOUT, STDIN):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return 24, 80


@contextmanager
def raw() -> Iterator[None]:
    """Pass every key through unprocessed within the block; restore the terminal afterwards."""
    before = termios.tcgetattr(STDIN)
    tty.setraw(STDIN, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
