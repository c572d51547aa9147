"""The outcome of a run: as JSON, as the page docs/benchmarks.md, and as tables on a terminal.

Everything is printed from summaries, which is what docs/benchmarks.json keeps. So the page can be written again
from that file, after its text or its layout has changed, without measuring anything.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.goals import GOALS, PHOENIX, Verdict, judge
from bench.measures import Measure

_FIGURE_COLUMNS = ("what", "by", "median", "phoenix / it", "smallest", "largest")
_GOAL_COLUMNS = ("goal", "bound", "measured", "verdict")


@dataclass(frozen=True)
class Figures:
    """What one peer reached.

    Attributes:
        median: Over the rounds.
        smallest: Over the rounds.
        largest: Over the rounds.
        ratio: Phoenix's figure divided by this peer's, as the median over the rounds; None: there is none.
        rounds: The figure of each round; empty: not kept.
    """

    median: float
    smallest: float
    largest: float
    ratio: float | None = None
    rounds: Sequence[float] = ()


@dataclass(frozen=True)
class Summary:
    """A measure as it is printed. peers: figures in `unit`, by name of the peer."""

    key: str
    title: str
    unit: str
    note: str
    peers: Mapping[str, Figures]


@dataclass(frozen=True)
class Report:
    """What a run has measured. environment: what it ran on, by name."""

    environment: Mapping[str, str]
    summaries: Sequence[Summary]
    verdicts: Sequence[Verdict]

    @classmethod
    def of(cls, environment: Mapping[str, str], measures: Sequence[Measure]) -> Report:
        """Summarize the measures of a run, and judge them by GOALS."""
        by_key = {measure.key: measure for measure in measures}
        return cls(environment, [summarize(each) for each in measures], [judge(goal, by_key) for goal in GOALS])

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """Return the report that as_json() gave."""
        summaries = [
            Summary(**{**each, "peers": {name: Figures(**figures) for name, figures in each["peers"].items()}})
            for each in value["summaries"]
        ]
        return cls(value["environment"], summaries, [Verdict(**each) for each in value["verdicts"]])


def summarize(measure: Measure) -> Summary:
    """Compute what is printed of a measure."""
    peers = {}
    for peer, rounds in measure.rounds.items():
        ratio = None
        if peer != PHOENIX and PHOENIX in measure.rounds and all(rounds):
            ratio = measure.ratio(PHOENIX, peer)
        peers[peer] = Figures(measure.median(peer), min(rounds), max(rounds), ratio, [*rounds])
    return Summary(measure.key, measure.title, measure.unit, measure.note, peers)


def number(value: float) -> str:
    """Format a figure with three significant digits."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def goal_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return a row for each goal, under `_GOAL_COLUMNS`."""
    return [
        [
            verdict.text,
            verdict.bound,
            "" if verdict.value is None else f"{number(verdict.value)} {verdict.unit}",
            verdict.word,
        ]
        for verdict in verdicts
    ]


def figure_rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """Return a row for each peer of each measure, under `_FIGURE_COLUMNS`; only the first row has the title."""
    rows = []
    for summary in summaries:
        title = summary.title
        for peer, figures in summary.peers.items():
            ratio = "" if figures.ratio is None else f"{number(figures.ratio)} x"
            median = f"{number(figures.median)} {summary.unit}"
            rows.append([title, peer, median, ratio, number(figures.smallest), number(figures.largest)])
            title = ""
    return rows


def goal_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the goals as a table for a terminal."""
    table = Table(*_GOAL_COLUMNS, title="goals")
    for verdict, row in zip(verdicts, goal_rows(verdicts)):
        table.add_row(*row, style={True: "green", False: "bold red", None: "dim"}[verdict.met])
    return table


def figure_table(summaries: Sequence[Summary]) -> Table:
    """Return all figures as a table for a terminal."""
    table = Table(*_FIGURE_COLUMNS, title="figures")
    for row in figure_rows(summaries):
        table.add_row(*row)
    return table


def missed(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence that names the goals that were missed."""
    texts = [verdict.text for verdict in verdicts if verdict.met is False]
    return f"Missed: {'; '.join(texts)}." if texts else "No goal that was measured was missed."


def markdown(report: Report, template: str) -> str:
    """Return the report as a page.

    Args:
        report: The report.
        template: The page's text, with the placeholders $met, $measured, $missed, $goals, $environment, $notes and
            $figures, as of string.Template.
    """
    measured = [verdict for verdict in report.verdicts if verdict.met is not None]
    return string.Template(template).substitute(
        met=sum(verdict.met is True for verdict in measured),
        measured=len(measured),
        missed=missed(report.verdicts),
        goals=markdown_table(_GOAL_COLUMNS, goal_rows(report.verdicts)),
        environment=markdown_table(("what", "version or value"), [[*pair] for pair in report.environment.items()]),
        notes=_notes(report.summaries),
        figures=markdown_table(_FIGURE_COLUMNS, figure_rows(report.summaries)),
    )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _notes(summaries: Sequence[Summary]) -> str:
    """List the notes, each once with the measures that it belongs to."""
    titles: dict[str, list[str]] = {}
    for summary in summaries:
        if summary.note:
            titles.setdefault(summary.note, []).append(summary.title)
    return "\n".join(f"- {'; '.join(names)}: {note}." for note, names in titles.items())
