"""The mock agent, behind the programs that other people's tests put in front of it."""

from __future__ import annotations

from pathlib import Path

from phoenix_ga.client import connect_sync
from phoenix_ga.testing import MockAgent
from tests.hub.conftest import HubProcess


def test_the_hub_takes_it_for_an_agent(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    with MockAgent(tmp_path / "agent") as agent, HubProcess(tmp_path, {"web1": agent.endpoint}) as hub:
        agent.answers["ping"] = "1.0"
        with connect_sync(f"unix:{hub.socket('web1')}", timeout=30, connect_timeout=30) as guest:
            assert guest.ping() == "1.0"
