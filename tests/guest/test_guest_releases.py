"""The demonstration in a guest of each Debian release that the lab knows, with the Python of that release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.image import is_built
from lab.sources import archive_answers

ROOT = Path(__file__).parents[2]

# An image may have to be built first.
pytestmark = [pytest.mark.guest, pytest.mark.timeout(2400)]


@pytest.mark.parametrize(
    ("release", "python"),
    [
        # This release may leave the archive at any time; the others must be tested.
        pytest.param("bullseye", "3.9", marks=pytest.mark.may_skip),
        ("bookworm", "3.11"),
        ("trixie", "3.13"),
    ],
)
def test_the_demonstration_works(release: str, python: str) -> None:
    if not is_built(release) and not archive_answers(release):
        pytest.skip(f"no Debian archive of this host has {release}, or it cannot be reached")
    done = subprocess.run(
        [sys.executable, "-m", "tools.demonstrate", "--release", release],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Python {python}." in done.stdout
    # What the demonstration shows, and checks itself.
    for part in (
        '"tag": "def"',
        "(no difference)",
        "frozen",
        "thawed",
        "198.51.100.0/24",
        "Everything worked.",
    ):
        assert part in done.stdout
    assert "the agent is starting" in done.stderr
