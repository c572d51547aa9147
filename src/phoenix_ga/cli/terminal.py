"""The terminal of the user, as far as a program in the guest takes it over."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from phoenix_ga.cli.stdio import STDIN, STDOUT


def size() -> tuple[int, int]:
    """Return rows and columns of the terminal; 24 and 80 where there is none."""
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
    """Let the program in the guest see each key; afterwards the terminal is as it was before."""
    if not os.isatty(STDIN):
        yield
        return
    before = termios.tcgetattr(STDIN)
    tty.setraw(STDIN, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
