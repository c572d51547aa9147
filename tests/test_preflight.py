"""What the machine lacks is named before the first test runs, and skips the tests that need it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import preflight


def test_missing_programs_are_named_first_with_their_packages() -> None:
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "tests/hooks/test_database_hooks.py"]
    environment = {**os.environ, "PATH": "/nowhere", "CI": ""}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    header = output[: output.index("collected ")]
    assert "missing programs: " in header
    assert "psql" in header
    assert "apt-get install " in header
    assert "postgresql" in header.partition("apt-get install ")[2]
    assert "SKIPPED" in output


def test_every_program_has_a_package() -> None:
    programs = {program for names in preflight.FIXTURES.values() for program in names}
    assert programs <= preflight.PROGRAMS.keys()
    assert preflight.missing(["surely-no-such-program"]) == ["surely-no-such-program"]
