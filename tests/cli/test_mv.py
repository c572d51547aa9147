"""Renaming files and directories of a guest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    (tmp_path / "directory").mkdir()
    return tmp_path


def test_a_file_gets_a_new_name_and_replaces_what_had_it(run: Run, endpoint: str, place: Path) -> None:
    assert run("mv", f"{endpoint}:{place}/a", place / "c").returncode == 0
    assert run("mv", f"{endpoint}:{place}/b", f"{endpoint}:{place}/c").returncode == 0
    assert sorted(os.listdir(place)) == ["c", "directory"]
    assert (place / "c").read_text() == "b"


def test_several_files_move_into_a_directory(run: Run, endpoint: str, place: Path) -> None:
    assert run("mv", f"{endpoint}:{place}/a", f"{endpoint}:{place}/b", place / "directory").returncode == 0
    assert sorted(os.listdir(place / "directory")) == ["a", "b"]


def test_a_directory_takes_a_file_unless_it_is_the_exact_target(run: Run, endpoint: str, place: Path) -> None:
    result = run("mv", "-T", f"{endpoint}:{place}/a", place / "directory")
    assert (result.returncode, "Is a directory" in result.stderr) == (1, True)
    assert run("mv", f"{endpoint}:{place}/a", place / "directory").returncode == 0
    assert (place / "directory" / "a").read_text() == "a"


def test_a_slash_at_the_end_means_a_directory(run: Run, endpoint: str, place: Path) -> None:
    assert run("mv", f"{endpoint}:{place}/a", f"{place}/no/").returncode == 1
    assert (place / "a").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["relative"], "must be an absolute path"),
        (["unix:/run/other.sock:/x"], "must be in the guest of the files"),
        (["-T", "{endpoint}:{place}/b", "/x"], "only one file"),
    ],
)
def test_wrong_targets_are_told_before_anything_happens(
    run: Run, endpoint: str, place: Path, words: list[str], text: str
) -> None:
    result = run("mv", f"{endpoint}:{place}/a", *(word.format(endpoint=endpoint, place=place) for word in words))
    assert (result.returncode, text in result.stderr) == (2, True)
    assert (place / "a").exists()
