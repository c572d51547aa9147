"""The progress of a copy on a terminal, in one line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional

import click

from phoenix_ga.cli.output import duration, escape, size

if TYPE_CHECKING:
    from phoenix_ga.cli.context import Options

Progress = Callable[[int, Optional[int]], None]

_NAME_MAX = 30


class ProgressDisplay:
    """Shows the progress if stderr is a terminal, and the average speed at the end."""

    def __init__(self, options: Options, shown: bool = True) -> None:
        self.json = options.json
        self._shown = shown and not options.json and not options.verbose and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._start = time.perf_counter()
        # Bytes of all sources so far, and the number of finished sources.
        self._done = 0
        self._parts = 0

    def __enter__(self) -> ProgressDisplay:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = TextColumn("{task.fields[name]}", markup=False), BarColumn(), TextColumn("{task.fields[state]}")
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=None, name="", state="")
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
        """Show the progress of one source within the block; yield the function that takes it."""
        if self._bar is None:
            yield None
            return
        before, start = self._done, time.perf_counter()
        shown = escape(name)
        if len(shown) > _NAME_MAX:
            shown = f"{shown[: _NAME_MAX - 3]}..."
        self._bar.update(self._task, name=shown, state="", completed=0, total=None)

        def show(done: int, total: int | None) -> None:
            self._done = before + done
            state = _describe(done, total, time.perf_counter() - start)
            self._bar.update(self._task, completed=done, total=total, state=state)

        yield show
        self._parts += 1


def _describe(done: int, total: int | None, seconds: float) -> str:
    rate = done / max(seconds, 1e-6)
    text = f"{size(done)}{f' of {size(total)}' if total else ''}  {size(rate)}/s"
    return f"{text}  {_time_left((total - done) / rate)} left" if total and done and total > done else text


def _time_left(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else duration(round(seconds))
