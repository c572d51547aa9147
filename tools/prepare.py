"""Find or make a Python that has what the demonstration needs.

It runs on the system's Python 3.9 or later, before anything is installed: it imports the standard library only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from lab.errors import LabError
from lab.progress import run_quietly
from lab.requirements import install

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
#: What `pip install` takes, for each purpose; the names are those of pyproject.toml.
HOST = ("host",)
GUEST = ("host", "lab")

# Prints what is wrong with the first requirement that is not satisfied, else nothing.
_CHECK = """
import json, re, sys
from importlib import metadata
def parts(text):
    return [int(number) for number in re.findall(r"[0-9]+", text)]
for name, lowest, below in json.loads(sys.argv[1]):
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        sys.exit(name + " is missing")
    if parts(found) < parts(lowest) or parts(found) >= parts(below):
        sys.exit(name + " is at version " + found)
"""


def requirements(purpose: tuple[str, ...], version: tuple[int, int] = sys.version_info[:2]) -> list[str]:
    """Return the requirements that pyproject.toml lists for `purpose` and a version of Python."""
    # tomllib comes with Python 3.11 only.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: list[str] = []
    for name in purpose:
        match = re.search(rf"^{name} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise LabError(f"pyproject.toml has no list called {name}")
        for line in re.findall(r'"(.+)"', match[1]):
            requirement, _, marker = line.partition(";")
            below = re.fullmatch(r"python_version < '(\d+)\.(\d+)'", marker.strip())
            if not marker or (below is not None and version < (int(below[1]), int(below[2]))):
                found.append(requirement.strip())
    return found


def _satisfies(python: Path, wanted: list[str], *, installed: bool) -> bool:
    """Return whether `python` has the packages `wanted`, and this checkout too if `installed`."""
    rows = []
    for requirement in wanted:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+),<([0-9.]+)", requirement)
        if match is None:
            raise LabError(f"pyproject.toml: {requirement!r} is not of the form NAME>=VERSION,<VERSION")
        rows.append(match.groups())
    if installed:
        rows.append(("phoenix-guest-agent", "0", "9999"))
    try:
        check = subprocess.run([str(python), "-c", _CHECK, json.dumps(rows)], capture_output=True, check=False)
    except OSError:
        return False
    return check.returncode == 0


def python_for(purpose: tuple[str, ...], packages: list[str]) -> Path:
    """Return a Python that has what `purpose` needs, after installing what is missing.

    The virtual environment is preferred, then the Python that runs this if its packages suffice; else the virtual
    environment is made or completed. What root must install is said before anything is done.

    Args:
        purpose: HOST or GUEST.
        packages: Debian packages that are missing for other reasons, to be installed with those for Python.

    Raises:
        LabError: Something could not be installed; the message says what to do.
    """
    wanted = requirements(purpose)
    for python, installed in ((VENV / "bin" / "python", True), (Path(sys.executable), False)):
        if _satisfies(python, wanted, installed=installed):
            if packages:
                install(packages)
            return python
    if importlib.util.find_spec("ensurepip") is None:
        packages = [*packages, "python3-venv"]
    if packages:
        install(packages)
    _fill_venv(wanted)
    return VENV / "bin" / "python"


def _fill_venv(wanted: list[str]) -> None:
    python = VENV / "bin" / "python"
    pip = [str(python), "-m", "pip"]
    if not python.exists() or subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
        run_quietly(
            "making a virtual environment in .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)], os.environ
        )
    quiet = ["--disable-pip-version-check", "--no-input"]
    run_quietly(
        f"installing {', '.join(re.split('[<>=]', each)[0] for each in wanted)} in .venv",
        [*pip, "install", *quiet, *wanted, "--editable", str(ROOT)],
    )
