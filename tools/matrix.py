"""Run tests in other environments: `python -m tools.matrix pythons`, or `minimum`; see `make test-matrix`.

pythons: the agent's tests with every CPython that is installed. minimum: the host's tests with the oldest supported
version of each dependency. Each environment is kept in `.venvs` and made again when its requirements change.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tools.build_pyz import interpreters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).parent.parent
ENVIRONMENTS: Final = ROOT / ".venvs"
MINOR_VERSIONS: Final = range(9, 15)
AGENT_TESTS: Final = ("tests/agent", "tests/wire", "tests/trees")
HOST_TESTS: Final = ("tests/client", "tests/cli")
#: What these tests import beside pytest.
TEST_PACKAGES: Final = (
    "PyYAML",
    "hypothesis",
    "pyroute2",
    "pytest",
    "pytest-rerunfailures",
    "pytest-timeout",
    "pytest-xdist",
    "qemu.qmp",
)
PYTEST: Final = (
    *("-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "-m", "not soak and not guest"),
    # See SECOND_TRY in the Makefile; these options are known to the oldest Python's release of the plugin.
    *("--reruns", "1", "-rRfE"),
)

_LOWEST: Final = re.compile(r">=([0-9.]+)")


def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_requirements() -> list[str]:
    """Return the requirements of the tests, without tools that they do not import."""
    groups = project()["dependency-groups"]
    # Other members include groups.
    lines = [*groups["lab"], *(line for line in groups["dev"] if isinstance(line, str))]
    return [line for line in lines if line.startswith(TEST_PACKAGES)]


def lowest(requirements: Iterable[str]) -> list[str]:
    """Return requirements that ask for the lowest version of each."""
    return [_LOWEST.sub(r"==\1", line.split(",")[0] + _marker(line)) for line in requirements]


def _marker(requirement: str) -> str:
    _, semicolon, marker = requirement.partition(";")
    return f"{semicolon}{marker}" if semicolon else ""


def environment(name: str, interpreter: str, requirements: list[str]) -> Path:
    """Return the interpreter of a virtual environment that has `requirements`; make it if need be."""
    directory = ENVIRONMENTS / name
    python, recorded = directory / "bin" / "python", directory / "requirements"
    wanted = "\n".join([interpreter, *requirements])
    if not recorded.exists() or recorded.read_text() != wanted:
        print(f"making {directory.relative_to(ROOT)}", flush=True)
        subprocess.run([interpreter, "-m", "venv", "--clear", str(directory)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True)
        recorded.write_text(wanted)
    return python


def run_tests(python: Path, tests: Iterable[str]) -> bool:
    """Run tests with an interpreter; return whether they passed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), *PYTEST, "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def version_of(interpreter: str) -> str:
    """Return the version of an interpreter, such as 3.9.2."""
    script = "import platform; print(platform.python_version())"
    return subprocess.run([interpreter, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def pythons(oldest: bool) -> bool:
    """Run the agent's tests with the CPythons of this machine; return whether all passed.

    oldest: with the oldest only.
    """
    found = {version_of(interpreter): interpreter for interpreter in interpreters()}
    minors = set(map(_minor, found))
    absent = [f"3.{minor}" for minor in MINOR_VERSIONS if minor not in minors]
    print(f"Pythons found: {', '.join(found)}; not found: {', '.join(absent) or 'none'}", flush=True)
    if oldest:
        version = min(found, key=_minor)
        found = {version: found[version]}
    results = {}
    requirements = [*project()["project"]["optional-dependencies"]["host"], *test_requirements()]
    for version, interpreter in found.items():
        print(f"=== Python {version}: {interpreter}", flush=True)
        python = environment(f"python{version}", interpreter, requirements)
        results[version] = run_tests(python, AGENT_TESTS)
    for version, passed in results.items():
        print(f"Python {version}: {'passed' if passed else 'FAILED'}")
    return all(results.values())


def minimum() -> bool:
    """Run the host's tests with the oldest supported dependencies; return whether they passed."""
    extras = project()["project"]["optional-dependencies"]
    requirements = lowest([*extras["host"], *extras["exporter"]])
    print(f"oldest versions: {', '.join(requirements)}", flush=True)
    python = environment("minimum", sys.executable, [*requirements, *test_requirements()])
    return run_tests(python, HOST_TESTS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run tests with other Pythons, or with the oldest dependencies.")
    parser.add_argument("what", choices=["pythons", "minimum"])
    parser.add_argument("--oldest", action="store_true", help="with the oldest Python only")
    options = parser.parse_args()
    return 0 if (pythons(options.oldest) if options.what == "pythons" else minimum()) else 1


if __name__ == "__main__":
    sys.exit(main())
