"""The simulated fleet: guests that hang or do harm cost their own probes only."""

from __future__ import annotations

import pytest

from bench.fleet.mock_guests import HONEST, HOSTILE, HUNG
from bench.fleet.simulation import Figures, Fleet, simulate

HARMLESS = "many-series"


def check(figures: Figures) -> None:
    fleet = figures.fleet
    assert len(figures.scrapes) == fleet.rounds * (fleet.guests + fleet.hung + fleet.hostile)
    assert {each.status for each in figures.of(HONEST)} == {200}
    assert {each.status for each in figures.of(HUNG, *HOSTILE)} <= {200, 503}
    broken = [kind for kind in HOSTILE if kind != HARMLESS]
    assert 200 not in {each.status for each in figures.of(HUNG, *broken)}


def test_every_probe_of_an_honest_guest_succeeds() -> None:
    fleet = Fleet(guests=20, hung=3, hostile=len(HOSTILE), interval=3, rounds=1, timeout=4, through_hub=True)
    figures = simulate(fleet)
    check(figures)
    assert {200} == {each.status for each in figures.of(HARMLESS)}
    assert set(figures.loads) == {"exporter", "hub"}
    assert all(text for _, text in figures.rows())


@pytest.mark.soak
@pytest.mark.parametrize("through_hub", [False, True], ids=["direct", "hub"])
@pytest.mark.parametrize("others", [0, 20])
def test_a_thousand_guests(others: int, through_hub: bool, capsys: pytest.CaptureFixture[str]) -> None:
    figures = simulate(Fleet(guests=1000, hung=others, hostile=others, through_hub=through_hub))
    with capsys.disabled():
        print()
        for name, figure in figures.rows():
            print(f"{name:42} {figure}")
    check(figures)
