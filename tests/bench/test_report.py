"""A report as a page, as JSON and as a table."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.bulk import best_piece
from bench.goals import PHOENIX, PHOENIX_AS_QEMU, QEMU
from bench.measures import Measure
from bench.plot import plot
from bench.report import PROFILE, Report, goal_table, markdown, measure_table, missed, number

REPORT = Report(
    {"host": "a | b"},
    [
        Measure("ping", "round trip of ping", "µs", {PHOENIX: [90, 100, 110], QEMU: [100, 200, 100]}, "3 rounds"),
        Measure("read-48", "read a file", "MB/s", {PHOENIX: [2.5], PHOENIX_AS_QEMU: [2.9], QEMU: [1]}),
        Measure("read-256", "read a file", "MB/s", {PHOENIX: [3], PHOENIX_AS_QEMU: [3], QEMU: [1.5]}),
        Measure("wakeups-closed", "wake-ups", "a minute", {PHOENIX: [0], QEMU: [600]}),
    ],
)


def test_the_page_has_figures_ratios_and_verdicts() -> None:
    page = markdown(REPORT, "picture.png")
    assert "| round trip of ping | phoenix | 100 µs |  | 90.0 | 110 |" in page
    assert "|  | qemu-ga | 100 µs | 0.90 x | 100 | 200 |" in page
    assert "| round trip of ping, against guest-ping | at most 0.9 x | 0.90 x | met |" in page
    assert "| file-read in 48 KiB pieces, against guest-file-read | at least 3 x | 2.50 x | MISSED |" in page
    assert "| wake-ups when idle, host not connected | at most 0 a minute | 0 a minute | met |" in page
    assert "| wake-ups when idle, host connected | at most 0 |  | not measured |" in page
    assert "- round trip of ping: 3 rounds." in page
    assert "| host | a \\| b |" in page
    assert "](picture.png)" in page
    assert PROFILE.read_text().strip() in page


def test_what_is_missed_is_said() -> None:
    goals = "file-read in 48 KiB pieces, against guest-file-read; guest-file-read in 48 KiB pieces, of both"
    assert missed(REPORT.verdicts) == f"Missed: {goals}."
    assert missed([]) == "No goal that was measured is missed."


def test_the_json_has_everything() -> None:
    value = json.loads(json.dumps(REPORT.as_json()))
    assert value["measures"][0]["rounds"] == {"phoenix": [90, 100, 110], "qemu-ga": [100, 200, 100]}
    assert value["measures"][0]["medians"] == {"phoenix": 100, "qemu-ga": 100}
    by_measure = {verdict["measure"]: verdict for verdict in value["verdicts"]}
    assert by_measure["ping"]["met"] is True
    assert by_measure["read-48"]["met"] is False
    assert by_measure["start"]["met"] is None


def test_the_tables_show_each_row() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(measure_table(REPORT.measures), goal_table(REPORT.verdicts))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("qemu-ga") >= 4
    assert "MISSED" in console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.123, "0.12"), (9.87, "9.87"), (12.34, "12.3"), (123.4, "123"), (-1.5, "-1.50")]
)
def test_three_digits_count(value: float, text: str) -> None:
    assert number(value) == text


def test_the_best_piece_is_that_of_qemu_ga() -> None:
    assert best_piece(REPORT.measures, "read") == 256
    assert best_piece([], "read") == 1024


def test_the_plot_is_a_picture_even_of_half_a_run(tmp_path: Path) -> None:
    plot(REPORT.measures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
