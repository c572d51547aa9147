"""Searching directories of a guest and summing up what they take, as find(1) and du(1) do."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run, command_line, environment


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with all that a walk can meet."""
    top = tmp_path / "top"
    for name in ("a/deep/er", "b", ".hidden"):
        (top / name).mkdir(parents=True)
    (top / "a" / "large.log").write_bytes(bytes(300_000))
    (top / "a" / "deep" / "small.log").write_text("x" * 10)
    (top / "b" / ".dot.log").write_text("y")
    os.link(top / "a" / "large.log", top / "b" / "again")
    (top / "b" / "link").symlink_to("../a")
    (top / "loop").symlink_to(".")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"odd\xff\nname")).touch()
    os.utime(top / "a" / "large.log", (1, time.time() - 10 * 86400))
    (tmp_path / "way").symlink_to("top")
    return top


def find(*words: object) -> list[bytes]:
    result = subprocess.run(["find", *map(str, words), "-print0"], capture_output=True, check=True)
    return sorted(result.stdout.split(b"\0"))


def ours(*words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command_line(*map(str, words)), capture_output=True, env=environment(), timeout=30)


@pytest.mark.parametrize(
    ("words", "theirs"),
    [
        ([], []),
        (["-name", "*.log"], ["-name", "*.log"]),
        (["-name", "*"], ["-name", "*"]),
        (["-type", "d"], ["-type", "d"]),
        (["-type", "fp"], ["-type", "f,p"]),
        (["-type", "l"], ["-type", "l"]),
        (["-maxdepth", "0"], ["-maxdepth", "0"]),
        (["-maxdepth", "1"], ["-maxdepth", "1"]),
        (["-type", "f", "-size", "+100K"], ["-type", "f", "-size", "+102399c"]),
        (["-type", "f", "-size", "-10"], ["-type", "f", "-size", "-11c"]),
        (["-mtime", "+5"], ["-mtime", "+5"]),
        (["-mtime", "-12h"], ["-mmin", "-720"]),
        (["-xdev", "--name", "[a-e]*"], ["-xdev", "-name", "[a-e]*"]),
    ],
    ids=" ".join,
)
def test_what_is_found_is_what_find_finds(endpoint: str, tree: Path, words: list[str], theirs: list[str]) -> None:
    result = ours("find", *words, "-print0", f"{endpoint}:{tree}")
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(result.stdout.split(b"\0")) == find(tree, *theirs)


def test_the_path_itself_may_be_a_link_or_a_file(run: Run, endpoint: str, tree: Path) -> None:
    way = tree.parent / "way"
    assert ours("find", "-print0", f"{endpoint}:{way}").stdout.count(b"\0") == len(find(tree)) - 1
    assert run("find", f"{endpoint}:{tree}/a/large.log").stdout == f"{tree}/a/large.log\n"
    assert run("du", "-b", "-A", f"{endpoint}:{tree}/a/large.log").stdout.split() == ["300000", f"{tree}/a/large.log"]


def test_a_path_is_a_line_whatever_it_holds(run: Run, endpoint: str, tree: Path) -> None:
    lines = run("find", "-name", "odd*", f"{endpoint}:{tree}").stdout.splitlines()
    assert lines == [f"{tree}/odd\\udcff\\x0aname"]
    (line,) = run("--json", "find", "-name", "odd*", f"{endpoint}:{tree}").stdout.splitlines()
    assert json.loads(line)["path"] == f"{tree}/odd\udcff\nname"


@pytest.mark.parametrize(
    ("words", "theirs"),
    [([], []), (["-s"], ["-s"]), (["-d", "1"], ["-d", "1"]), (["-A"], ["--apparent-size"]), (["-x"], ["-x"])],
    ids=" ".join,
)
def test_what_is_taken_is_what_du_says(endpoint: str, tree: Path, words: list[str], theirs: list[str]) -> None:
    result = subprocess.run(["du", "--block-size=1", *theirs, tree], capture_output=True, check=True)
    expected = sorted(tuple(line.split(b"\t")) for line in result.stdout.splitlines())
    lines = ours("du", "-b", *words, f"{endpoint}:{tree}").stdout.splitlines()
    found = sorted(tuple(line.split(None, 1)) for line in lines)
    if words == ["-A"]:
        # du counts neither directories nor links there, since coreutils 9.
        assert [path for _, path in found] == [path for _, path in expected]
    else:
        assert found == expected


def test_the_sizes_are_added_up(run: Run, endpoint: str, tree: Path) -> None:
    (line,) = run("--json", "du", "-s", f"{endpoint}:{tree}").stdout.splitlines()
    inodes = {path.lstat().st_ino: path.lstat().st_size for path in [tree, *tree.rglob("*")]}
    assert json.loads(line)["apparent"] == sum(inodes.values())


def test_a_missing_path_is_an_error_and_the_others_are_searched(run: Run, endpoint: str, tree: Path) -> None:
    for verb in ("find", "du"):
        result = run(verb, f"{endpoint}:{tree}/nowhere", f"{endpoint}:{tree}/b")
        assert (result.returncode, result.stderr.count("No such file or directory")) == (1, 1)
        assert f"{tree}/b" in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["find", "-type", "x"],
        ["find", "-size", "5"],
        ["find", "-size", "+x"],
        ["find", "-mtime", "+"],
        ["find", "-mtime", "-0"],
        ["du", "-s", "-d", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage(run: Run, endpoint: str, words: list[str]) -> None:
    assert run(*words, f"{endpoint}:/").returncode == 2


def test_a_very_deep_tree_is_walked(run: Run, endpoint: str, tmp_path: Path) -> None:
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1200):
            os.mkdir("deeper")
            os.chdir("deeper")
    finally:
        os.chdir(before)
    assert len(run("find", f"{endpoint}:{tmp_path}").stdout.splitlines()) == 1201
    assert len(run("du", f"{endpoint}:{tmp_path}").stdout.splitlines()) == 1201
    subprocess.run(["rm", "-rf", tmp_path / "deeper"], check=True)
