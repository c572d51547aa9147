"""What docs/client.md shows works when it is pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import phoenix_ga.client
from tests.cli.conftest import environment
from tests.support import SOURCE, AgentProcess

TEXT = (SOURCE.parent / "docs" / "client.md").read_text()
PROGRAMS = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "import" in block]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_each_whole_program_runs(program: str, agent: AgentProcess, tmp_path: Path) -> None:
    program = program.replace("/run/web1.sock", str(agent.socket_path))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_error_tree_is_the_one_of_the_code() -> None:
    tree = re.search(r"```\n(PhoenixError\n.*?)```", TEXT, re.DOTALL)
    assert tree is not None
    documentation = phoenix_ga.client.errors.__doc__ or ""
    assert [line.strip() for line in tree[1].splitlines()] == [
        line.strip() for line in documentation.splitlines() if re.match(r"    (PhoenixError|[├└│])", line)
    ]


def test_the_public_names_are_there() -> None:
    for name in phoenix_ga.client.__all__:
        assert hasattr(phoenix_ga.client, name)
