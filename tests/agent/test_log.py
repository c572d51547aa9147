"""The log: any thread may write at any time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from phoenix_ga.agent.core.log import INFO, Log
from tests.support import SOURCE


def test_threads_that_write_at_once_do_not_disturb_each_other() -> None:
    log = Log()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(3000):
                log.write(INFO, "line")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_log_file_on_a_stuck_disk_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    write_file = Log._write_file
    monkeypatch.setattr(Log, "_write_file", lambda log, lines: (stuck.wait(20), write_file(log, lines))[1])
    log = Log(str(tmp_path / "log"))
    log.start()
    for number in range(5000):
        log.write(INFO, f"line {number}")
    stuck.set()
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 1000
    assert lines[-1].endswith(" line 999")


def test_lines_that_were_lost_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    written: list[str] = []
    monkeypatch.setattr(log, "_put", lambda line: False)
    for _ in range(100):
        log.write(INFO, "lost")

    def write(line: bytes) -> bool:
        written.append(line.decode())
        return True

    monkeypatch.setattr(log, "_put", write)
    log.write(INFO, "written")
    assert len(written) == 2
    assert written[0].endswith("100 log lines were lost\n")
    assert written[1].endswith("written\n")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("{device}:{inode}", r"<6>line\n"),
        # Inherited from a service, with standard error redirected since.
        ("{device}:1", r"\d{4}-\d\d-\d\dT\S+ line\n"),
        ("", r"\d{4}-\d\d-\d\dT\S+ line\n"),
    ],
)
def test_only_journald_gets_priorities(tmp_path: Path, stream: str, expected: str) -> None:
    program = "from phoenix_ga.agent.core.log import INFO, Log; Log().write(INFO, 'line')"
    with (tmp_path / "log").open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        environment["JOURNAL_STREAM"] = stream.format(device=status.st_dev, inode=status.st_ino)
        subprocess.run([sys.executable, "-c", program], stderr=stderr, env=environment, check=True)
    assert re.fullmatch(expected, (tmp_path / "log").read_text())
