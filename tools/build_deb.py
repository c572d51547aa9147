"""Build the Debian packages into dist/: `python -m tools.build_deb`, or `make deb`.

The source package consists of the archive of `make dist` and packaging/debian. lintian checks what is built.
"""

from __future__ import annotations

import argparse
import email.utils
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from phoenix_ga import __version__
from tools import build_dist

ROOT: Final = Path(__file__).parent.parent
DIST: Final = ROOT / "dist"
WORKSPACE: Final = ROOT / "build" / "deb"
SOURCE_NAME: Final = "phoenix-guest-agent"
MAINTAINER: Final = "Phoenix guest agent maintainers <phoenix-guest-agent@example.org>"
_PRERELEASE: Final = re.compile(r"\.?(dev|a|b|rc)([0-9]+)$")


def sortable(version: str) -> str:
    """Return a version as dpkg and rpm sort it: a tilde is before the release, two are before all other tildes."""
    return _PRERELEASE.sub(lambda match: ("~~" if match[1] == "dev" else "~") + match[1] + match[2], version)


def debian_version(version: str) -> str:
    """Return the version of the packages. Its revision is not one of Debian's."""
    return sortable(version) + "-0upstream1"


def changelog(version: str, time: int) -> str:
    """Return debian/changelog."""
    return (
        f"{SOURCE_NAME} ({version}) unstable; urgency=medium\n\n"
        f"  * Version {__version__}; CHANGELOG.md lists the changes.\n\n"
        f" -- {MAINTAINER}  {email.utils.formatdate(time)}\n"
    )


def prepare(workspace: Path, version: str) -> Path:
    """Make the source tree in an empty directory, with the original archive beside it; return the tree."""
    (workspace / "dist").mkdir(parents=True)
    files = build_dist.build(workspace / "dist")
    (original,) = (path for path in files if path.name.endswith(".tar.gz"))
    archive = original.rename(workspace / f"{SOURCE_NAME}_{version.rpartition('-')[0]}.orig.tar.gz")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(workspace)
    tree = next(path for path in workspace.iterdir() if (path / "pyproject.toml").exists())
    # Follow links to what other systems use, too.
    shutil.copytree(tree / "packaging" / "debian", tree / "debian")
    (tree / "debian" / "changelog").write_text(changelog(version, build_dist.source_time()))
    return tree


def build(workspace: Path, version: str) -> list[Path]:
    """Build the source and binary packages, and check them; return the files.

    Raises:
        subprocess.CalledProcessError: A program failed. Its output is in the error.
    """
    tree = prepare(workspace, version)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(build_dist.source_time()), "DEB_BUILD_OPTIONS": "terse"}
    # Not those of the virtual environment.
    environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment.pop("VIRTUAL_ENV", None)
    run(["dpkg-buildpackage", "--unsigned-source", "--unsigned-changes"], tree, environment)
    (changes,) = workspace.glob("*.changes")
    run(["lintian", "--allow-root", "--info", "--fail-on", "error,warning", changes.name],
         workspace, environment)  # fmt: skip
    kinds = (".deb", ".dsc", ".changes", ".buildinfo", ".orig.tar.gz", ".debian.tar.xz")
    return sorted(path for path in workspace.iterdir() if path.name.endswith(kinds))


def run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    """Run a program and return its output. Raises subprocess.CalledProcessError."""
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the Debian packages into dist/.")
    parser.add_argument("--version", default=debian_version(__version__), help="Version of the packages.")
    parser.add_argument("--output", type=Path, default=DIST, help="Directory for what is built.")
    options = parser.parse_args()
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for path in build(WORKSPACE, options.version):
            print(shutil.move(path, options.output / path.name))
    except subprocess.CalledProcessError as error:
        print(
            f"build_deb: {' '.join(map(str, error.cmd))} failed:\n{error.stdout}{error.stderr or ''}", file=sys.stderr
        )
        return 1
    shutil.rmtree(WORKSPACE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
