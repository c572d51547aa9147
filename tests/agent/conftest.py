"""Fixtures: an agent on this machine and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import AgentProcess, LineClient


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent of its own for each test."""
    with AgentProcess(tmp_path) as process:
        yield process


@pytest.fixture
def client(agent: AgentProcess) -> Iterator[LineClient]:
    with agent.connect() as connected:
        yield connected
