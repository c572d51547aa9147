"""Two checkouts side by side: where they come from, and what is said of them."""

from __future__ import annotations

import re

import pytest

from bench.checkouts import ROOT, open_checkout
from bench.compare import BASE, GROUPS, NEW, Comparison, cases, chance
from bench.measures import Measure
from bench.settings import Settings
from lab.errors import LabError


def test_each_group_has_cases() -> None:
    assert tuple(dict.fromkeys(case.group for case in cases(Settings()))) == GROUPS


@pytest.mark.parametrize(
    ("unit", "ratios", "verdict"),
    [
        ("µs", [0.5, 0.8, 0.9, 0.9, 0.9], "faster"),
        ("µs", [1.5, 1.1, 1.1, 1.2, 1.1], "slower"),
        ("MB/s", [1.1, 2, 1.1, 1.3, 1.2], "faster"),
        ("MB/s", [0.9, 0.5, 0.9, 0.9, 0.8], "slower"),
        ("MB/s", [0.9, 0.5, 0.9, 0.9, 1.1], "same"),
        ("MB/s", [0.5, 0.5, 0.5], "same"),
        ("MB/s", [0.9] * 9 + [1.1], "slower"),
        ("MB/s", [0.9] * 8 + [1.1] * 2, "same"),
    ],
)
def test_a_difference_counts_if_enough_rounds_agree(unit: str, ratios: list[float], verdict: str) -> None:
    measure = Measure("key", "title", unit, {BASE: [100.0] * len(ratios), NEW: [100 * ratio for ratio in ratios]})
    assert Comparison({}, [measure]).rows()[0][-1] == verdict


def test_equal_sides_give_one_sided_ratios_by_chance() -> None:
    assert chance([2] * 5) == 2 / 32
    assert chance([2] * 4 + [0.5]) == 2 * 6 / 32
    assert chance([0.5, 2]) == 1


def test_a_row_has_medians_and_the_spread_of_ratios() -> None:
    measure = Measure("key", "title", "µs", {BASE: [100, 200, 100], NEW: [150, 220, 110]})
    comparison = Comparison({BASE: "1234", NEW: "5678"}, [measure])
    assert "| title | µs | 100 | 150 | 1.10 | 1.10 | 1.50 | same |" in comparison.markdown()
    assert comparison.as_json()["measures"][0]["rounds"][NEW] == [150, 220, 110]


def test_a_revision_is_extracted_and_a_directory_is_used_as_it_is() -> None:
    with open_checkout(BASE, "HEAD") as checkout:
        assert (checkout.root / "tools" / "guest.py").is_file()
        assert checkout.root != ROOT
        assert re.fullmatch("[0-9a-f]+", checkout.version)
        assert checkout.port == "org.phoenix.base"
    assert not checkout.root.exists()
    with open_checkout(NEW, str(ROOT)) as checkout:
        assert checkout.root == ROOT
    assert ROOT.exists()


@pytest.mark.parametrize(
    ("where", "error"),
    [("/", "/ is not a checkout of Phoenix"), ("no-such-revision", "neither a directory nor a git revision")],
)
def test_anything_else_is_refused(where: str, error: str) -> None:
    with pytest.raises(LabError, match=error), open_checkout(BASE, where):
        pass
