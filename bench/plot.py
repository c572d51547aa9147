"""The picture of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.goals import FRAMES, LEANEST, PHOENIX, PHOENIX_AS_QEMU, QEMU, RAW, RAW_FILE, RAW_VECTORS, UNVERIFIED
from bench.guest import DIRECTORIES, EXT4, TMPFS
from bench.report import Summary, number

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
    LEANEST: "black",
}
_STYLES = {EXT4: "o-", TMPFS: "x--"}


def plot(summaries: Sequence[Summary], target: Path) -> None:
    """Draw four panels into the PNG file `target`; a panel stays empty if its measures are missing."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    by_key = {summary.key: summary for summary in summaries}
    figure, ((copies, latency), (reading, writing)) = pyplot.subplots(2, 2, figsize=(12, 8))
    keys = [f"{verb}-{filesystem}" for filesystem in DIRECTORIES for verb in ("get", "put")]
    _bars(copies, [by_key[key] for key in keys if key in by_key], "whole files, MB/s")
    latencies = [by_key[key] for key in ("ping-p50-simple", "ping-p99-simple") if key in by_key]
    _bars(latency, latencies, "ping while busy, µs, simple client")
    for axes, kind in ((reading, "read"), (writing, "write")):
        _lines(axes, [summary for summary in summaries if summary.key.startswith(f"{kind}-")], kind)
    figure.tight_layout()
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _bars(axes: Axes, summaries: Sequence[Summary], title: str) -> None:
    """Draw a group of bars for each measure, on a logarithmic scale."""
    axes.set_title(title)
    if not summaries:
        return
    peers = list(summaries[0].peers)
    width = 0.8 / len(peers)
    for place, peer in enumerate(peers):
        places = [group + place * width for group in range(len(summaries))]
        medians = [summary.peers[peer].median for summary in summaries]
        bars = axes.bar(places, medians, width, label=peer, color=_COLOURS.get(peer))
        axes.bar_label(bars, [number(median) for median in medians], fontsize=7 if len(summaries) < 3 else 5)
    axes.set_yscale("log")
    # Leave room for the legend.
    axes.set_ylim(top=axes.get_ylim()[1] * 10)
    centres = [group + 0.4 - width / 2 for group in range(len(summaries))]
    axes.set_xticks(centres, [summary.title for summary in summaries], fontsize=8)
    axes.legend(fontsize=7, ncols=3)


def _lines(axes: Axes, summaries: Sequence[Summary], kind: str) -> None:
    """Draw the throughput by size of the pieces: a line for each agent and filesystem."""
    axes.set_title(f"{kind} a file piece by piece, MB/s")
    if not summaries:
        return
    for filesystem, style in _STYLES.items():
        chosen = [summary for summary in summaries if summary.key.endswith(f"-{filesystem}")]
        sizes = [int(summary.key.split("-")[1]) for summary in chosen]
        for peer in chosen[0].peers if chosen else ():
            medians = [summary.peers[peer].median for summary in chosen]
            axes.plot(sizes, medians, style, label=f"{peer}, {filesystem}", color=_COLOURS.get(peer))
    axes.set_xscale("log", base=2)
    sizes = sorted({int(summary.key.split("-")[1]) for summary in summaries})
    axes.set_xticks(sizes, [f"{size} KiB" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
