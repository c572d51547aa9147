"""Printing the end of files of a guest."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run, command_line, environment
from tests.support import AgentProcess, wait_for


def test_the_last_lines_of_each_file_are_printed(run: Run, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n")
    (tmp_path / "b").write_text("\x1b[31m4\n5")
    result = run("tail", "-n", "2", f"{endpoint}:{tmp_path}/a", f"{endpoint}:{tmp_path}/b")
    assert (result.returncode, result.stdout) == (0, "2\n3\n\x1b[31m4\n5")


def test_what_a_guest_writes_does_not_control_the_terminal(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("\x1b]0;x\x07\tü\r\n\x9b1m\n".encode())
    ours, theirs = pty.openpty()
    shown = {}
    for words in ([], ["-r"]):
        line = command_line("tail", *words, f"{endpoint}:{tmp_path}/log")
        subprocess.run(line, stdout=theirs, env=environment(), timeout=30, check=True)
        shown[len(words)] = os.read(ours, 4096).replace(b"\r\n", b"\n").decode()
    os.close(ours)
    os.close(theirs)
    assert shown[0] == "\\x1b]0;x\\x07\tü\n\\x9b1m\n"
    assert "\x1b" in shown[1]


@pytest.mark.parametrize("rotated", [False, True])
def test_a_file_is_followed_until_ctrl_c_and_nothing_is_left(
    agent: AgentProcess, endpoint: str, tmp_path: Path, rotated: bool
) -> None:
    (tmp_path / "log").write_text("1\n2\n")
    line = command_line("tail", "-f", "-n", "1", f"{endpoint}:{tmp_path}/log")
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"2\n"
            if rotated:
                (tmp_path / "log").rename(tmp_path / "log.1")
            with (tmp_path / "log").open("a") as log:
                log.write("3\n")
            assert process.stdout.readline() == b"3\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    wait_for(lambda: not agent.open_files(tmp_path))


def test_only_one_file_is_followed(run: Run, endpoint: str) -> None:
    assert run("tail", "-f", f"{endpoint}:/a", f"{endpoint}:/b").returncode == 2
