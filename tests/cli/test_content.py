"""`cat`, `tee` and `sha256sum`."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent


def test_cat_writes_files_as_they_are_one_after_the_other(endpoint: str, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "one").write_bytes(data)
    (tmp_path / "two").write_bytes(b"end")
    words = ["cat", *(f"{endpoint}:{tmp_path}/{name}" for name in ("one", "two"))]
    result = subprocess.run(command_line(*words), capture_output=True, env=environment(), timeout=20)
    assert result.stdout == data + b"end"


def test_tee_writes_a_file_whole_with_its_mode(run: Run, endpoint: str, tmp_path: Path) -> None:
    assert run("tee", "-m", "600", f"{endpoint}:{tmp_path}/file", input="text").stdout == "text"
    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert "not an octal number" in run("tee", "-m", "9", f"{endpoint}:{tmp_path}/file").stderr


def test_an_interrupted_tee_changes_nothing(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    process = subprocess.Popen(
        command_line("tee", f"{endpoint}:{tmp_path}/file"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"new")
    process.stdin.flush()
    assert process.stdout.read(3) == b"new"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    time.sleep(0.2)
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_sha256sum_prints_what_sha256sum_prints(run: Run, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    digest = hashlib.sha256(b"x" * 1000).hexdigest()
    assert run("sha256sum", f"{endpoint}:{tmp_path}/file").stdout == f"{digest}  {tmp_path}/file\n"
    assert f'"sha256": "{digest}"' in run("--json", "sha256sum", f"{endpoint}:{tmp_path}/file").stdout


def test_a_word_without_a_guest_is_wrong_usage(run: Run) -> None:
    for verb in ("cat", "tee", "sha256sum"):
        result = run(verb, "/etc/hosts")
        assert result.returncode == 2
        assert "not of the form GUEST:/PATH" in result.stderr


def test_cat_ends_when_a_stream_stays_silent(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"file-get": {"stream": 5, "size": 1, "mode": 0o644, "mtime": 0, "uid": 0, "gid": 0}}
    result = run("--timeout", 0.3, "cat", f"{scripted.endpoint}:/x")
    assert (result.returncode, "no data for 0.3 s" in result.stderr) == (124, True)
