"""Fixtures: phoenixctl as it is typed, against a real agent or one that is only a script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ends.agent import ScriptedAgent
from tests.support import SOURCE

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedAgent]:
    """An agent whose answers are set by the test: the only kind that may be asked to freeze."""
    with ScriptedAgent(tmp_path_factory.mktemp("scripted")) as process:
        yield process


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-m", "phoenix_ga.cli", *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "100", **more}


@pytest.fixture
def run() -> Run:
    def run_it(*words: object, input: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*map(str, words)),
            input=input,
            capture_output=True,
            text=True,
            timeout=20,
            env=environment(**more),
        )

    return run_it
