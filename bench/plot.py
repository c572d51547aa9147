"""The figures as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.goals import FRAMES, PHOENIX, PHOENIX_AS_QEMU, QEMU, RAW, RAW_FILE, RAW_VECTORS, UNVERIFIED
from bench.measures import Measure
from bench.report import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    PHOENIX: "tab:orange",
    PHOENIX_AS_QEMU: "tab:green",
    UNVERIFIED: "gold",
    FRAMES: "tab:red",
    QEMU: "tab:blue",
    RAW: "dimgray",
    RAW_FILE: "darkgray",
    RAW_VECTORS: "lightgray",
}


def plot(measures: Sequence[Measure], target: Path) -> None:
    """Draw four panels into the PNG file `target`; a panel whose measures are missing stays empty."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    by_key = {measure.key: measure for measure in measures}
    figure, ((copies, latency), (reading, writing)) = pyplot.subplots(2, 2, figsize=(12, 8))
    _bars(copies, [by_key[key] for key in ("get", "put") if key in by_key], "whole files, MB/s")
    latencies = [by_key[key] for key in ("ping-p50-simple", "ping-p99-simple") if key in by_key]
    _bars(latency, latencies, "ping while busy, µs, simple client")
    for axes, kind in ((reading, "read"), (writing, "write")):
        _lines(axes, [measure for measure in measures if measure.key.startswith(f"{kind}-")], kind)
    figure.tight_layout()
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _bars(axes: Axes, measures: Sequence[Measure], title: str) -> None:
    """A group of bars for each measure, on a logarithmic scale."""
    axes.set_title(title)
    if not measures:
        return
    peers = list(measures[0].rounds)
    width = 0.8 / len(peers)
    for place, peer in enumerate(peers):
        places = [group + place * width for group in range(len(measures))]
        medians = [measure.median(peer) for measure in measures]
        bars = axes.bar(places, medians, width, label=peer, color=_COLOURS.get(peer))
        axes.bar_label(bars, [number(median) for median in medians], fontsize=7)
    axes.set_yscale("log")
    # Room for the legend.
    axes.set_ylim(top=axes.get_ylim()[1] * 10)
    axes.set_xticks(
        [group + 0.4 - width / 2 for group in range(len(measures))], [measure.title for measure in measures]
    )
    axes.legend(fontsize=7, ncols=3)


def _lines(axes: Axes, measures: Sequence[Measure], kind: str) -> None:
    """Throughput by piece size, a line for each agent."""
    axes.set_title(f"{kind} a file piece by piece, MB/s")
    if not measures:
        return
    sizes = [int(measure.key.rpartition("-")[2]) for measure in measures]
    for peer in measures[0].rounds:
        axes.plot(sizes, [measure.median(peer) for measure in measures], "o-", label=peer, color=_COLOURS.get(peer))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size} KiB" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
