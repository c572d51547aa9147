"""Two checkouts side by side: where they come from, and what is said of them."""

from __future__ import annotations

import re

import pytest

from bench.checkouts import ROOT, open_checkout
from bench.compare import BASE, GROUPS, NEW, Comparison, cases
from bench.measures import Measure
from bench.settings import Settings
from lab.errors import LabError


def test_each_group_has_cases() -> None:
    assert tuple(dict.fromkeys(case.group for case in cases(Settings()))) == GROUPS


@pytest.mark.parametrize(
    ("unit", "base", "new", "figures"),
    [
        ("µs", [100, 200, 100], [50, 100, 80], ["100", "80.0", "0.50", "0.50", "0.80", "faster"]),
        ("µs", [100, 200, 100], [150, 220, 110], ["100", "150", "1.10", "1.10", "1.50", "slower"]),
        ("MB/s", [10, 20, 10], [11, 22, 20], ["10.0", "20.0", "1.10", "1.10", "2.00", "faster"]),
        ("MB/s", [10, 20, 10], [9, 18, 5], ["10.0", "9.00", "0.90", "0.50", "0.90", "slower"]),
        ("MB/s", [10, 20, 10], [9, 22, 10], ["10.0", "10.0", "1.00", "0.90", "1.10", "same"]),
    ],
)
def test_a_difference_counts_if_all_rounds_agree(
    unit: str, base: list[float], new: list[float], figures: list[str]
) -> None:
    measure = Measure("key", "title", unit, {BASE: base, NEW: new})
    comparison = Comparison({BASE: "1234", NEW: "5678"}, [measure])
    assert comparison.rows() == [["title", unit, *figures]]
    assert f"| title | {unit} | {' | '.join(figures)} |" in comparison.markdown()
    assert comparison.as_json()["measures"][0]["rounds"] == {BASE: base, NEW: new}


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
