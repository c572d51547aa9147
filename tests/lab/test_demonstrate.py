"""`make run LOOPBACK=1`, how it prepares itself, and the progress that it shows."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import progress
from lab.errors import LabError
from tools import prepare

ROOT = Path(__file__).parents[2]
LOOPBACK = [sys.executable, "-m", "tools.demonstrate", "--loopback"]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory whose path is short enough for that of a socket below it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def environment(temporary: Path, tmp_path: Path) -> dict[str, str]:
    """A temporary directory of its own, which must be empty afterwards, and a PATH without socat."""
    return {**os.environ, "TMPDIR": str(temporary), "PATH": str(tmp_path)}


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.output = b""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(command[0], command, environment)

    def read_until(self, text: str) -> None:
        """Read until `text` appears."""
        while text.encode() not in self.output:
            self.output += os.read(self._terminal, 65536)

    def type(self, data: bytes) -> None:
        os.write(self._terminal, data)

    def wait(self) -> int:
        """Read the rest of the output and return the exit status."""
        with contextlib.suppress(OSError):
            while data := os.read(self._terminal, 65536):
                self.output += data
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_it_works_without_a_terminal_and_without_socat(environment: dict[str, str], temporary: Path) -> None:
    done = subprocess.run(
        LOOPBACK, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Everything worked."), done.stderr
    assert "a socket of Python does what this command does" in done.stdout
    assert '"tag": "def"' in done.stdout
    assert not re.search(r"^<\d>", done.stderr, re.MULTILINE)
    assert list(temporary.iterdir()) == []


def test_on_a_terminal_it_suggests_commands_and_waits_for_enter(environment: dict[str, str], temporary: Path) -> None:
    terminal = Terminal(LOOPBACK, environment)
    terminal.read_until("    socat - UNIX-CONNECT:")
    for verb in ("shell", "exec", "ls", "cp"):
        assert f"    phoenixctl {verb} ".encode() in terminal.output
    terminal.type(b"\n")
    assert terminal.wait() == 0
    assert b"Everything worked." in terminal.output
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("moment", ["the agent starts", "round trip", "lines of JSON", "a program runs"])
def test_ctrl_c_ends_it_and_leaves_nothing(environment: dict[str, str], temporary: Path, moment: str) -> None:
    terminal = Terminal(LOOPBACK, environment)
    terminal.read_until(moment)
    terminal.type(b"\x03")
    assert terminal.wait() == 128 + signal.SIGINT
    assert b"Traceback" not in terminal.output
    assert list(temporary.iterdir()) == []


def test_the_requirements_are_those_of_pyproject() -> None:
    assert [re.split("[<>=]", each)[0] for each in prepare.requirements(prepare.HOST, (3, 12))] == [
        "click",
        "platformdirs",
        "rich",
        "xxhash",
    ]
    assert {"tomli", "async-timeout"} <= {
        re.split("[<>=]", each)[0] for each in prepare.requirements(prepare.HOST, (3, 9))
    }
    assert any(each.startswith("qemu.qmp") for each in prepare.requirements(prepare.GUEST, (3, 12)))


def test_an_ordinary_user_is_told_first_what_root_must_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "VENV", tmp_path / "venv")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"apt-get install --no-install-recommends qemu-utils python3-venv$"):
        prepare.python_for(prepare.GUEST, ["qemu-utils"])
    assert not (tmp_path / "venv").exists()
    assert capfd.readouterr().err == ""


def test_a_python_with_the_libraries_needs_no_virtual_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prepare, "VENV", tmp_path / "venv")
    assert prepare.python_for(prepare.HOST, []) == Path(sys.executable)


def test_progress_in_a_log_grows_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress._LogLine, "interval", 0.01)
    with progress.stage("it works"):
        time.sleep(0.5)
    assert re.fullmatch(r"it works \.\.\.( \d+ s \.\.\.)+ done in \d+\.\d s\n", capsys.readouterr().err)


def test_progress_on_a_terminal_shows_what_happens(tmp_path: Path) -> None:
    program = (
        "import time\nfrom lab import progress\nprogress._TerminalLine.interval = 0.01\n"
        "with progress.stage('it works', lambda: 'step\\x1b 1'):\n    time.sleep(0.5)\n"
    )
    terminal = Terminal([sys.executable, "-c", program], {**os.environ, "COLUMNS": "30"})
    assert terminal.wait() == 0
    lines = terminal.output.decode().split("\r\x1b[K")
    assert "it works: 0 s ... (step 1)" in lines
    assert re.fullmatch(r"it works: done in \d+\.\d s\s+", lines[-1])


def test_the_output_of_a_command_appears_if_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LabError, match=r"(?s)failed with status 9.*no such package"):
        progress.run_quietly("installing", ["sh", "-c", "echo no such package >&2; exit 9"])
    assert re.fullmatch(r"installing \.\.\. failed after \d+\.\d s\n", capsys.readouterr().err)
    progress.run_quietly("installing", ["echo", "noise"])
    assert "noise" not in capsys.readouterr().err
