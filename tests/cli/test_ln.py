"""Making links in a guest."""

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


def test_a_file_gets_a_second_name(run: Run, endpoint: str, place: Path) -> None:
    assert run("ln", place / "a", f"{endpoint}:{place}/c").returncode == 0
    assert (place / "c").samefile(place / "a")


@pytest.mark.parametrize("target", ["a", "nowhere/at all"])
def test_a_symbolic_link_has_the_text_that_is_given(run: Run, endpoint: str, place: Path, target: str) -> None:
    assert run("ln", "-s", target, f"{endpoint}:{place}/c").returncode == 0
    assert os.readlink(place / "c") == target


@pytest.mark.parametrize("flags", [["-s"], []], ids=["symbolic", "hard"])
def test_an_existing_file_is_replaced_only_if_that_is_wanted(
    run: Run, endpoint: str, place: Path, flags: list[str]
) -> None:
    words = [f"{place}/a", f"{endpoint}:{place}/b"]
    result = run("ln", *flags, *words)
    assert (result.returncode, "File exists" in result.stderr) == (1, True)
    assert (place / "b").read_text() == "b"
    for _ in range(2):
        assert run("ln", "-f", *flags, *words).returncode == 0
        assert (place / "b").read_text() == "a"
        assert sorted(os.listdir(place)) == ["a", "b", "directory"]


def test_a_directory_is_not_replaced(run: Run, endpoint: str, place: Path) -> None:
    result = run("ln", "-sf", "a", f"{endpoint}:{place}/directory")
    assert (result.returncode, "Is a directory" in result.stderr) == (1, True)
    assert sorted(os.listdir(place)) == ["a", "b", "directory"]


def test_the_target_of_a_hard_link_is_absolute(run: Run, endpoint: str, place: Path) -> None:
    result = run("ln", "a", f"{endpoint}:{place}/c")
    assert (result.returncode, "must be an absolute path" in result.stderr) == (2, True)
