"""The wheel and the source archive: complete, accepted by an index, and the same in each build."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.support import SOURCE
from tools import build_dist

pytestmark = pytest.mark.timeout(300)

ROOT = SOURCE.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is built, by the end of its name."""
    files = build_dist.build(tmp_path_factory.mktemp("dist"))
    build_dist.check(files)
    return {path.name.rpartition(".")[2]: path for path in files}


def test_two_builds_have_the_same_bytes(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In another directory, at another time, with other modes and another order of files.
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".git", ".venv*", "dist", "build", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    for path in copy.rglob("*.py"):
        os.utime(path, (time.time() - 10**6,) * 2)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "again"), str(copy)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(build_dist.source_time()), "PYTHONHASHSEED": "7"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == built[path.name.rpartition(".")[2]].read_bytes(), path.name


def test_the_wheel_is_complete(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["whl"]) as wheel:
        names = set(wheel.namelist())
        unit = wheel.read("phoenix_ga/agent/phoenix-ga.service")
        metadata = wheel.read(f"phoenix_guest_agent-{__version__}.dist-info/METADATA").decode()
    modules = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    assert modules <= names
    assert "phoenix_ga/py.typed" in names
    assert unit == (ROOT / "packaging" / "systemd" / "phoenix-ga.service").read_bytes()
    assert "\nLicense-Expression: MIT\n" in metadata
    assert not [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]


def test_the_source_archive_has_what_the_packages_are_made_of(built: dict[str, Path]) -> None:
    with tarfile.open(built["gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "packaging/phoenix-ga.8", "tools/build_pyz.py", "tests/support.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "dist"))]


def test_the_bill_of_materials_names_each_file_and_each_library(built: dict[str, Path]) -> None:
    bill = json.loads(built["json"].read_text())
    listed = {each["name"]: each["hashes"][0]["content"] for each in bill["metadata"]["component"]["components"]}
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (built["whl"], built["gz"])
    }
    assert {"click", "rich", "platformdirs"} <= {each["name"] for each in bill["components"]}
