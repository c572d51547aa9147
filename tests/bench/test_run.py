"""The smallest runs of the benchmarks, in a real guest."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import PARKED_SECTION, SECTIONS, measure, write
from bench.checkouts import ROOT
from bench.compare import GROUPS, cases, compare
from bench.settings import MEBI, Settings

SMALLEST = Settings(
    rounds=1,
    ping_rounds=1,
    pings=5,
    loaded_pings=5,
    commands=1,
    starts=1,
    wakings=1,
    pieces_size=MEBI // 4,
    bulk_size=MEBI,
    largest_size=MEBI,
    tree_files=20,
    listed_files=20,
    idle_seconds=1,
)


@pytest.mark.guest
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_everything_is_measured_and_written(tmp_path: Path) -> None:
    report = measure(SMALLEST, [*SECTIONS, PARKED_SECTION], Console(file=io.StringIO()))
    assert all(verdict.met is not None for verdict in report.verdicts)
    write(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"benchmarks.json", "benchmarks.md", "benchmarks.png"}
    summaries = {each["key"]: each for each in json.loads((tmp_path / "benchmarks.json").read_text())["summaries"]}
    assert summaries["ping"]["peers"].keys() == {"phoenix", "qemu-ga", "raw port"}
    assert all(figures["median"] > 0 for figures in summaries["get-ext4"]["peers"].values())


@pytest.mark.guest
@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_checkout_is_compared_with_itself() -> None:
    lines: list[str] = []
    comparison = compare(str(ROOT), str(ROOT), SMALLEST, GROUPS, lines.append)
    assert [row[0] for row in comparison.rows()] == [case.title for case in cases(SMALLEST)]
    assert all(
        figure > 0 for measure in comparison.measures for rounds in measure.rounds.values() for figure in rounds
    )
    assert len(lines) == 1 + len(comparison.measures)
