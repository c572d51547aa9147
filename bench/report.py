"""A run's outcome as data, as Markdown and as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.goals import GOALS, PHOENIX, Verdict, judge
from bench.measures import Measure

#: Why goals are missed, and what was tried: written by hand, and put on the page by each run.
PROFILE = Path(__file__).parent / "profile.md"

_COLUMNS = ("what", "by", "median", "phoenix to it", "smallest", "largest")
_GOAL_COLUMNS = ("goal", "bound", "measured", "verdict")


@dataclass(frozen=True)
class Report:
    """What a run has measured. environment: what it ran on, by name."""

    environment: Mapping[str, str]
    measures: Sequence[Measure]

    @property
    def verdicts(self) -> list[Verdict]:
        """Each goal with what came of it."""
        by_key = {measure.key: measure for measure in self.measures}
        return [judge(goal, by_key) for goal in GOALS]

    def as_json(self) -> dict[str, Any]:
        """Everything, as values of JSON; medians included."""
        return {
            "environment": dict(self.environment),
            "measures": [
                {**asdict(measure), "medians": {peer: measure.median(peer) for peer in measure.rounds}}
                for measure in self.measures
            ],
            "verdicts": [
                {**asdict(verdict.goal), "value": verdict.value, "unit": verdict.unit, "met": verdict.met}
                for verdict in self.verdicts
            ],
        }


def number(value: float) -> str:
    """A figure with three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def goal_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """A row for each goal, under `_GOAL_COLUMNS`."""
    rows = []
    for verdict in verdicts:
        measured = "" if verdict.value is None else f"{number(verdict.value)} {verdict.unit}"
        rows.append([verdict.goal.text, f"{verdict.goal.bound} {verdict.unit}".rstrip(), measured, verdict.word])
    return rows


def measure_rows(measures: Sequence[Measure]) -> list[list[str]]:
    """A row for each peer of each measure, under `_COLUMNS`; the title is in its first row only."""
    rows = []
    for measure in measures:
        title = measure.title
        for peer, figures in measure.rounds.items():
            ratio = ""
            if peer != PHOENIX and PHOENIX in measure.rounds and all(figures):
                ratio = f"{number(measure.ratio(PHOENIX, peer))} x"
            median = f"{number(measure.median(peer))} {measure.unit}"
            rows.append([title, peer, median, ratio, number(min(figures)), number(max(figures))])
            title = ""
    return rows


def goal_table(verdicts: Sequence[Verdict]) -> Table:
    """The goals as a table for a terminal."""
    table = Table(*_GOAL_COLUMNS, title="goals")
    for verdict, row in zip(verdicts, goal_rows(verdicts)):
        table.add_row(*row, style={True: "green", False: "bold red", None: "dim"}[verdict.met])
    return table


def measure_table(measures: Sequence[Measure]) -> Table:
    """All figures as a table for a terminal."""
    table = Table(*_COLUMNS, title="figures")
    for row in measure_rows(measures):
        table.add_row(*row)
    return table


def missed(verdicts: Sequence[Verdict]) -> str:
    """Which goals are missed, in a sentence."""
    texts = [verdict.goal.text for verdict in verdicts if verdict.met is False]
    return f"Missed: {'; '.join(texts)}." if texts else "No goal that was measured is missed."


def markdown(report: Report, picture: str) -> str:
    """The report as a page. picture: the name of the plot, which stands beside it."""
    verdicts = report.verdicts
    notes = [f"- {measure.title}: {measure.note}." for measure in report.measures if measure.note]
    parts = [
        "# Benchmarks",
        "The agent beside Debian's qemu-guest-agent and the bare port, all in one guest and one run, taking turns.\n"
        "`make bench` measures anew, and `make bench DOCS=1` writes this page.",
        missed(verdicts),
        f"![throughput and latency]({picture})",
        "## Goals",
        "A ratio is the median of the ratios of the rounds.",
        _markdown_table(_GOAL_COLUMNS, goal_rows(verdicts)),
        "## Where the time goes",
        PROFILE.read_text().strip(),
        "## Figures",
        _markdown_table(_COLUMNS, measure_rows(report.measures)),
        "## How it was measured",
        "\n".join(notes),
        "## Where",
        _markdown_table(("what", "which"), [[name, value] for name, value in report.environment.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
