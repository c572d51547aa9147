"""A run of the bench, with hardly any rounds, in a real guest."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import SECTIONS, measure, write
from bench.settings import MEBI, Settings

SMALLEST = Settings(
    rounds=1,
    ping_rounds=1,
    pings=5,
    loaded_pings=5,
    commands=1,
    starts=1,
    pieces_size=MEBI // 4,
    bulk_size=MEBI,
    idle_seconds=1,
)


@pytest.mark.guest
@pytest.mark.timeout(300)
def test_everything_is_measured_and_written(tmp_path: Path) -> None:
    report = measure(SMALLEST, list(SECTIONS), Console(file=io.StringIO()))
    assert all(verdict.met is not None for verdict in report.verdicts)
    write(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"benchmarks.json", "benchmarks.md", "benchmarks.png"}
    measures = {each["key"]: each for each in json.loads((tmp_path / "benchmarks.json").read_text())["measures"]}
    assert measures["ping"]["medians"].keys() == {"phoenix", "qemu-ga", "raw port"}
    assert all(figure > 0 for figure in measures["get"]["medians"].values())
