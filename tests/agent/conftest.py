"""Fixtures: an agent on this machine and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.freeze.freezer import Freezer
from tests.agent.loop_devices import Bench, OnlyBelow
from tests.ends.client import LineClient
from tests.support import AgentProcess


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent of its own for each test."""
    with AgentProcess(tmp_path) as process:
        yield process


@pytest.fixture
def client(agent: AgentProcess) -> Iterator[LineClient]:
    with agent.connect() as connected:
        yield connected


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def real(tmp_path: Path) -> OnlyBelow:
    return OnlyBelow(tmp_path)


@pytest.fixture
def real_freezer(tmp_path: Path, log: list[str], real: OnlyBelow) -> Freezer:
    return Freezer(log.append, str(tmp_path / "run"), real)
