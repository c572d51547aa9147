"""The example of docs/testing.md, run by pytest as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga.testing import BootError, boot_guest
from tests.support import SOURCE

PAGE = (SOURCE.parent / "docs" / "testing.md").read_text()


def write_example(directory: Path) -> None:
    """Write the files of the page."""
    for name, text in re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```$", PAGE, re.DOTALL | re.MULTILINE):
        (directory / name).write_text(text)
    (directory / "phoenixctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m phoenix_ga.cli "$@"\n')
    (directory / "phoenixctl").chmod(0o755)


def run_pytest(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PATH": f"{directory}:{os.environ['PATH']}", "CI": ""}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-rs",
            "-c",
            str(directory / "pytest.ini"),
            *words,
        ],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_the_example_with_the_mock_agent_works(tmp_path: Path) -> None:
    write_example(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed, 1 skipped" in result.stdout
    assert "--phoenix-image" in result.stdout


@pytest.mark.programs("qemu-system-x86_64")
def test_a_guest_that_does_not_boot_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="No such file"), boot_guest(tmp_path / "none"):
        pass
    image = tmp_path / "empty, with a comma"
    image.write_bytes(b"\0" * 512)
    with pytest.raises(BootError, match=r"QEMU ended: .*nonsense"), boot_guest(image, arguments=["-nonsense"]):
        pass
    with pytest.raises(BootError, match="the agent does not answer: "), boot_guest(image, memory="64M", timeout=3):
        pass
