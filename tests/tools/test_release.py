"""Releases, made in a clone of this repository."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import SOURCE
from tools.release import ReleaseError, with_release, with_version

ROOT = SOURCE.parent
DATE = datetime.date(2030, 1, 2)
CHANGELOG = """# Changelog

## Unreleased

### Added
- A thing.

## 0.9.0 - 2029-01-01

- The first.
"""


def git(directory: Path, *words: str) -> str:
    options = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *options, *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the files of this work tree."""
    copy = tmp_path / "clone"
    copy.mkdir()
    names = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    (copy / "CHANGELOG.md").write_text(CHANGELOG)
    git(copy, "init", "--quiet")
    git(copy, "config", "user.name", "Test")
    git(copy, "config", "user.email", "test@example.org")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "All")
    return copy


def release(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.release", *words]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)


def assert_unchanged(clone: Path) -> None:
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "--format=%s").splitlines() == ["All"]
    assert not list(clone.glob("dist/*"))


def test_the_unreleased_section_becomes_that_of_the_version() -> None:
    changed = with_release(CHANGELOG, "1.0.0", DATE)
    assert "## Unreleased\n\n## 1.0.0 - 2030-01-02\n\n### Added\n- A thing.\n\n## 0.9.0 - 2029" in changed


@pytest.mark.parametrize("changelog", ["# Changelog\n", "## Unreleased\n\n## 0.9.0 - 2029-01-01\n\n- Old.\n"])
def test_a_release_without_changes_is_refused(changelog: str) -> None:
    with pytest.raises(ReleaseError, match="nothing under"):
        with_release(changelog, "1.0.0", DATE)


def test_the_version_is_in_one_place() -> None:
    assert with_version('import os\n__version__ = "1.0.dev0"\n', "1.0.0") == 'import os\n__version__ = "1.0.0"\n'
    with pytest.raises(ReleaseError, match="exactly one line"):
        with_version("", "1.0.0")


@pytest.mark.programs("git")
@pytest.mark.timeout(300)
def test_a_release_is_built_committed_and_tagged(clone: Path) -> None:
    result = release(clone, "7.8.9")
    assert result.returncode == 0, result.stderr
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "tag", "--list", "--points-at", "HEAD").strip() == "v7.8.9"
    assert git(clone, "log", "-1", "--format=%s").strip() == "Release 7.8.9"
    assert "## 7.8.9 - " in (clone / "CHANGELOG.md").read_text()
    names = {
        "SHA256SUMS",
        "phoenix-ga-7.8.9.pyz",
        "phoenix_guest_agent-7.8.9-py3-none-any.whl",
        "phoenix_guest_agent-7.8.9.cdx.json",
        "phoenix_guest_agent-7.8.9.tar.gz",
    }
    assert {path.name for path in (clone / "dist").iterdir()} == names
    for line in (clone / "dist" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((clone / "dist" / name).read_bytes()).hexdigest() == digest
    archive = clone / "dist" / "phoenix-ga-7.8.9.pyz"
    shown = subprocess.run([archive, "-v"], capture_output=True, text=True, check=True)
    assert shown.stdout == "7.8.9\n"
    again = release(clone, "7.8.9")
    assert (again.returncode, "the tag v7.8.9 exists already" in again.stderr) == (1, True)


@pytest.mark.programs("git")
def test_a_release_that_cannot_be_made_changes_nothing(clone: Path) -> None:
    (clone / "new").write_text("")
    dirty = release(clone, "7.8.9")
    assert (dirty.returncode, "the work tree has changes" in dirty.stderr) == (1, True)
    (clone / "new").unlink()
    for version in ("7.8", "v7.8.9", "7.8.9 ", "--help?"):
        assert release(clone, "--", version).returncode == 1
    assert release(clone, "--dry-run", "7.8.9").returncode == 0
    assert_unchanged(clone)


@pytest.mark.programs("git")
def test_a_failed_build_changes_nothing(clone: Path) -> None:
    (clone / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'nowhere'\n")
    git(clone, "commit", "--quiet", "--all", "--amend", "--message", "All")
    assert "failed" in release(clone, "7.8.9").stderr
    assert_unchanged(clone)
