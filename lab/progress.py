"""Progress on standard error: one line for each stage, with the seconds that have passed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lab.errors import LabError

_TAIL = 3000
#: Seconds between updates on a terminal, and in a log file.
_TERMINAL_INTERVAL = 1.0
_LOG_INTERVAL = 10.0


@contextlib.contextmanager
def stage(title: str, detail: Callable[[], str] = str) -> Iterator[None]:
    """Print `title` while the body runs, with the elapsed time, and the total time at the end.

    A terminal shows a line that is updated every second; elsewhere the line grows every 10 seconds.

    Args:
        title: What the body does, as a phrase without a full stop.
        detail: Returns what happens at the moment; shown on terminals only.
    """
    line = _TerminalLine(title, detail) if sys.stderr.isatty() else _LogLine(title)
    begin = time.monotonic()
    finished = threading.Event()

    def tick() -> None:
        while not finished.wait(line.interval):
            line.update(time.monotonic() - begin)

    ticker = threading.Thread(target=tick, name="progress", daemon=True)
    line.update(0)
    ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    except KeyboardInterrupt:
        outcome = "interrupted after"
        raise
    finally:
        finished.set()
        ticker.join()
        line.end(f"{outcome} {time.monotonic() - begin:.1f} s")


class _LogLine:
    interval = _LOG_INTERVAL

    def __init__(self, title: str) -> None:
        _write(title)

    def update(self, seconds: float) -> None:
        _write(f" {seconds:.0f} s ..." if seconds else " ...")

    def end(self, outcome: str) -> None:
        _write(f" {outcome}\n")


class _TerminalLine:
    interval = _TERMINAL_INTERVAL

    def __init__(self, title: str, detail: Callable[[], str]) -> None:
        self._title = title
        self._detail = detail

    def update(self, seconds: float) -> None:
        text = f"{self._title}: {seconds:.0f} s ..."
        detail = "".join(c for c in self._detail() if c.isprintable())
        if detail:
            text += f" ({detail})"
        # A line that wraps could not be overwritten.
        _write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")

    def end(self, outcome: str) -> None:
        _write(f"\r\x1b[K{self._title}: {outcome}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


def last_line(log: Path) -> str:
    """Return the last line of a log file that is still being written, or an empty string."""
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""


def run_quietly(title: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `command` as a stage. Its output appears only if it fails.

    Raises:
        LabError: The command failed; the message has the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="phoenix-lab-log-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as stream, stage(title, lambda: last_line(log)):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                start_new_session=True,
            )
            try:
                status = process.wait()
            except BaseException:
                # As Ctrl-C does on a terminal, tell the children of apt-get or pip too.
                os.killpg(process.pid, signal.SIGINT)
                process.wait()
                raise
            if status != 0:
                tail = log.read_text(errors="replace")[-_TAIL:]
                raise LabError(f"'{' '.join(command)}' failed with status {status}; its last output:\n{tail}")
