"""Progress of a copy"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import escape, size

Progress = Callable[[int, Optional[int]], None]


class ProgressDisplay:
    """Shows how far a copy is, where somebody looks at a terminal, and at the end how fast it was."""

    def __init__(self, options: Options, shown: bool = True) -> None:
        self.json = options.json
        self._shown = shown and not options.json and not options.verbose and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._start = time.perf_counter()
        # Of the parts that are done, in bytes; and how many there are.
        self._done = 0
        self._parts = 0

    def __enter__(self) -> ProgressDisplay:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._bar is None:
            return
        self._bar.stop()
        if kind is None and self._parts:
            seconds = max(time.perf_counter() - self._start, 1e-6)
            click.echo(f"{size(self._done)} in {seconds:.1f} s, {size(self._done / seconds)}/s", err=True)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Progress | None]:
        """Show one of the sources; the bar goes on from where those before it ended."""
        if self._bar is None:
            yield None
            return
        from rich.text import Text

        self._bar.console.print(Text(escape(name)))
        before = self._done

        def show(done: int, total: int | None) -> None:
            self._done = before + done
            self._bar.update(self._task, completed=self._done, total=None if total is None else before + total)

        yield show
        self._parts += 1
