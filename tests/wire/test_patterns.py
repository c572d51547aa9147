"""Patterns for paths: they match what a shell would expand them to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ga.agent.operations import patterns
from phoenix_ga.wire.patterns import NamePattern, is_pattern, path_matches

NAMES = ["a", "b", "ab", "abc", ".hidden", "a*b", "[x]", "x", "a]b", "-", "é", "with space", "d.txt", "back\\slash"]
PATTERNS = [
    "*", "?", "a*", "*b", "a?c", "[ab]", "[!ab]", "[^ab]", "[a-c]*", "[]x]", "[[]x]", "a[]]b", r"a\*b", r"\[x\]",
    ".*", ".h*", "*.txt", "[x", "[", "x[", "**", "*a*b*c*", "[a-]", "[-a]", "[!]x]*", r"[\]]", "back?slash", "?*",
    "*/in", "sub/*", "*/", "s?b/", r"with\ *", "nothing*", "*/.*", r"a[\]]b", "[!a", "[é-ê]",
]  # fmt: skip


def matching_paths(pattern: str) -> list[str]:
    return patterns.matching_paths([NamePattern(part) for part in pattern.split("/")])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    for name in ("in", ".in"):
        (tmp_path / "sub" / name).touch()
    (tmp_path / "broken").symlink_to("nowhere")
    return tmp_path


@pytest.mark.programs("bash")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_expands_as_in_a_shell(directory: Path, pattern: str) -> None:
    script = f"shopt -s nullglob; cd '{directory}'; LC_ALL=C.UTF-8; printf '%s\\n' {pattern}"
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    found = [path.removeprefix(f"{directory}/") for path in matching_paths(f"{directory}/{pattern}")]
    # bash lists `.` and `..` for `.*`, and what has no wildcard even if it does not exist.
    expected = {name for name in shell if name and name.rpartition("/")[2] not in (".", "..")}
    literal = NamePattern(pattern).literal
    if literal is not None and not (directory / literal).exists():
        expected = set()
    assert set(found) == expected
    assert found == sorted(found)
    assert all(path_matches(f"{directory}/{pattern}", path) for path in matching_paths(f"{directory}/{pattern}"))


@settings(max_examples=200)
@given(st.text("ab*?[]!-\\.", max_size=8), st.text("ab[]-.\\", max_size=6))
def test_no_pattern_is_malformed(pattern: str, name: str) -> None:
    assert NamePattern(pattern).matches(name) in (True, False)


def test_many_stars_do_not_take_exponential_time() -> None:
    assert not NamePattern("*a" * 30 + "b").matches("a" * 255)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/srv/*.txt", "/srv/.bashrc"),
        ("/srv/*", "/srv/.."),
        ("/srv/*", "/srv/a/../../etc"),
        ("/srv/*", "/etc/a"),
        ("/srv/*", "a"),
        ("/srv/.*", "/srv/.."),
    ],
)
def test_what_does_not_match(pattern: str, path: str) -> None:
    assert not path_matches(pattern, path)


def test_a_backslash_alone_makes_no_pattern() -> None:
    assert [is_pattern(text) for text in ("/a\\b", "/a*", "/a?", "/[a")] == [False, True, True, True]


def test_a_directory_that_cannot_be_read_matches_nothing(tmp_path: Path) -> None:
    assert matching_paths(f"{tmp_path}/no/*") == []
