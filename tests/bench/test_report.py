"""A report as a page, as JSON, as a table and as a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import DOCS, TEMPLATE
from bench.bulk import best_piece
from bench.goals import PHOENIX, PHOENIX_AS_QEMU, QEMU
from bench.measures import Measure
from bench.plot import plot
from bench.report import Report, figure_table, goal_table, markdown, missed, number

MEASURES = [
    Measure("ping", "round trip of ping", "µs", {PHOENIX: [90, 100, 110], QEMU: [100, 200, 100]}, "3 rounds"),
    Measure("read-48-ext4", "read a file", "MB/s", {PHOENIX: [2.5], PHOENIX_AS_QEMU: [2.9], QEMU: [1]}),
    Measure("read-256-ext4", "read a file", "MB/s", {PHOENIX: [3], PHOENIX_AS_QEMU: [3], QEMU: [1.5]}),
    Measure("wakeups-closed", "wake-ups", "a minute", {PHOENIX: [0], QEMU: [600]}, "3 rounds"),
]
REPORT = Report.of({"host": "a | b"}, MEASURES)


def test_the_page_has_figures_ratios_and_verdicts() -> None:
    page = markdown(REPORT, TEMPLATE.read_text())
    assert "| round trip of ping | phoenix | 100 µs |  | 90.0 | 110 |" in page
    assert "|  | qemu-ga | 100 µs | 0.90 x | 100 | 200 |" in page
    assert "| round trip of ping, against guest-ping | at most 0.8 x | 0.90 x | MISSED |" in page
    assert "| guest-file-read in 48 KiB pieces, ext4, of both | at least 3.2 x | 2.90 x | MISSED |" in page
    assert "| wake-ups when idle, host not connected | at most 0 a minute | 0 a minute | met |" in page
    assert "| wake-ups when idle, host connected | at most 0 |  | not measured |" in page
    assert "1 of 3 goals are met" in page
    assert "- round trip of ping; wake-ups: 3 rounds." in page
    assert "| host | a \\| b |" in page


def test_the_committed_page_is_written_from_the_committed_figures() -> None:
    report = Report.from_json(json.loads((DOCS / "benchmarks.json").read_text()))
    assert (DOCS / "benchmarks.md").read_text() == markdown(report, TEMPLATE.read_text()), (
        "run: python -m bench render"
    )


def test_missed_goals_are_named() -> None:
    goals = "round trip of ping, against guest-ping; guest-file-read in 48 KiB pieces, ext4, of both"
    assert missed(REPORT.verdicts) == f"Missed: {goals}."
    assert missed([]) == "No goal that was measured was missed."


def test_the_json_keeps_the_whole_report() -> None:
    value = json.loads(json.dumps(REPORT.as_json()))
    assert value["summaries"][0]["peers"]["qemu-ga"] == {
        "median": 100,
        "smallest": 100,
        "largest": 200,
        "ratio": 0.9,
        "rounds": [100, 200, 100],
    }
    assert Report.from_json(value) == REPORT


def test_the_tables_show_each_row() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(figure_table(REPORT.summaries), goal_table(REPORT.verdicts))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("qemu-ga") >= 4
    assert "MISSED" in console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.123, "0.12"), (9.87, "9.87"), (12.34, "12.3"), (123.4, "123"), (-1.5, "-1.50")]
)
def test_figures_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_best_piece_is_that_of_qemu_ga() -> None:
    assert best_piece(MEASURES, "read", "ext4") == 256
    assert best_piece(MEASURES, "read", "tmpfs") == 1024
    assert best_piece([], "read", "ext4") == 1024


def test_the_plot_is_a_picture_even_of_an_incomplete_run(tmp_path: Path) -> None:
    plot(REPORT.summaries, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
