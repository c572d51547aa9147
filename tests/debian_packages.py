"""The Debian packages of this checkout, built once for all tests and processes that need them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tools import build_deb, build_dist

VERSION = "1.0.0~rc1-0upstream1"
PROGRAMS = ("dpkg-buildpackage", "dh_python3", "lintian", "git")
_CACHE = build_deb.ROOT / "build" / "deb-tests"


def _key() -> str:
    """Return a digest of all files from which the packages are built, and of the time that is written into them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=build_deb.ROOT, check=True, capture_output=True).stdout.split(b"\0")
    digest = hashlib.sha256(f"{VERSION} {build_dist.source_time()}".encode())
    for name in sorted(names):
        path = build_deb.ROOT / os.fsdecode(name)
        if not name.startswith(b"tests/") and path.is_file():
            digest.update(name + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def built_packages() -> dict[str, Path]:
    """Return the packages, by name. A complaint of lintian fails the build."""
    _CACHE.parent.mkdir(exist_ok=True)
    with _CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target = _CACHE / _key()
        if not target.is_dir():
            shutil.rmtree(_CACHE, ignore_errors=True)
            unfinished = _CACHE / "unfinished"
            unfinished.mkdir(parents=True)
            for path in build_deb.build(_CACHE / "workspace", VERSION):
                if path.suffix == ".deb":
                    path.rename(unfinished / path.name)
            shutil.rmtree(_CACHE / "workspace")
            unfinished.rename(target)
        return {path.name.partition("_")[0]: path for path in target.iterdir()}
