"""Make a release: `python -m tools.release VERSION [--dry-run]`, or `make release VERSION=1.2.0`.

Sets the version, dates the changelog, builds the source archive, the wheel and the agent as one file, then commits
and tags. If anything fails, the work tree is as it was. Nothing is pushed.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tools import build_dist

ROOT: Final = Path(__file__).parent.parent
VERSION_FILE: Final = Path("src/phoenix_ga/__init__.py")
CHANGELOG: Final = Path("CHANGELOG.md")

_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?")
_VERSION_LINE: Final = re.compile(r'^__version__ = ".*"$', re.MULTILINE)
_UNRELEASED: Final = re.compile(r"^## Unreleased\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class ReleaseError(Exception):
    """The release cannot be made."""


def run(*words: str) -> str:
    """Run a program in the work tree and return its output. Raises ReleaseError."""
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ReleaseError(f"'{shlex.join(words)}' failed:\n{result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def check(version: str) -> None:
    """Raise ReleaseError unless `version` can be released from this work tree."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"'{version}' is not a version like 1.2.0 or 1.2.0rc1")
    if changed := run("git", "status", "--porcelain").rstrip():
        raise ReleaseError(f"the work tree has changes; commit or remove them:\n{changed}")
    if run("git", "tag", "--list", f"v{version}").strip():
        raise ReleaseError(f"the tag v{version} exists already")


def with_version(source: str, version: str) -> str:
    """Return the text of VERSION_FILE with another version."""
    changed, count = _VERSION_LINE.subn(f'__version__ = "{version}"', source)
    if count != 1:
        raise ReleaseError(f"{VERSION_FILE} must have exactly one line '__version__ = ...'")
    return changed


def with_release(changelog: str, version: str, date: datetime.date) -> str:
    """Return the changelog with its Unreleased section as that of `version`, and an empty one before it."""
    section = _UNRELEASED.search(changelog)
    if section is None or not section[1].strip():
        raise ReleaseError(f"{CHANGELOG} has nothing under '## Unreleased'")
    released = f"## Unreleased\n\n## {version} - {date.isoformat()}\n{section[1]}"
    return changelog[: section.start()] + released + changelog[section.end() :]


def build(version: str, directory: Path) -> list[Path]:
    """Build what is shipped into `directory`, with a file of SHA-256 sums; return the files."""
    try:
        build_dist.check(build_dist.build(directory))
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"'{shlex.join(error.cmd)}' failed:\n{error.stderr.strip() or error.stdout}") from None
    run(sys.executable, "-m", "tools.build_pyz", str(directory / f"phoenix-ga-{version}.pyz"))
    files = sorted(directory.iterdir())
    sums = directory / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files))
    return [*files, sums]


def release(version: str) -> list[Path]:
    """Make the release and return the files in `dist`. Raises ReleaseError."""
    check(version)
    changes = {
        VERSION_FILE: with_version((ROOT / VERSION_FILE).read_text(), version),
        CHANGELOG: with_release((ROOT / CHANGELOG).read_text(), version, datetime.date.today()),
    }
    names = [str(path) for path in changes]
    target = ROOT / "dist"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as name:
        try:
            for path, text in changes.items():
                (ROOT / path).write_text(text)
            files = build(version, Path(name))
            run("git", "commit", "--quiet", "--message", f"Release {version}", *names)
        except BaseException:
            run("git", "checkout", "--quiet", "HEAD", "--", *names)
            raise
        run("git", "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
        return [path.rename(target / path.name) for path in files]


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a release from a clean work tree.")
    parser.add_argument("version", help="the version, such as 1.2.0 or 1.2.0rc1")
    parser.add_argument("--dry-run", action="store_true", help="Check and show what would be done; change nothing.")
    options = parser.parse_args()
    version: str = options.version
    try:
        if options.dry_run:
            check(version)
            print(f"{VERSION_FILE}: version {version}\n{CHANGELOG}:\n")
            print(with_release((ROOT / CHANGELOG).read_text(), version, datetime.date.today()))
            print(f"commit and tag v{version}")
            print(f"dist/: source archive, wheel, SBOM, phoenix-ga-{version}.pyz, SHA256SUMS")
            return 0
        for path in release(version):
            print(path.relative_to(ROOT))
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"Committed and tagged v{version}. Publish with: git push origin HEAD v{version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
