"""Setting the times of files of a guest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_missing_file_is_created_unless_it_must_not_be(run: Run, endpoint: str, tmp_path: Path) -> None:
    assert run("touch", "-c", f"{endpoint}:{tmp_path}/new").returncode == 0
    assert not (tmp_path / "new").exists()
    assert run("touch", f"{endpoint}:{tmp_path}/new").returncode == 0
    assert (tmp_path / "new").read_bytes() == b""
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


def test_an_existing_file_keeps_its_content_and_gets_the_present(run: Run, endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("text")
    assert run("touch", "-d", "2001-02-03 04:05:06", f"{endpoint}:{path}").returncode == 0
    then = time.mktime((2001, 2, 3, 4, 5, 6, 0, 0, -1))
    assert (path.stat().st_mtime, path.stat().st_atime) == (then, then)
    assert run("touch", f"{endpoint}:{path}").returncode == 0
    assert path.stat().st_mtime > then
    assert path.read_text() == "text"


def test_a_missing_directory_is_told(run: Run, endpoint: str, tmp_path: Path) -> None:
    result = run("touch", f"{endpoint}:{tmp_path}/no/file")
    assert (result.returncode, "No such file or directory" in result.stderr) == (1, True)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01"])
def test_a_time_that_is_none_is_wrong_usage(run: Run, endpoint: str, tmp_path: Path, text: str) -> None:
    assert run("touch", f"--date={text}", f"{endpoint}:{tmp_path}/x").returncode == 2
    assert not (tmp_path / "x").exists()
