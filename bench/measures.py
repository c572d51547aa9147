"""Figures by peer and round, with their medians, ratios and percentiles. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One thing that was measured, for several peers.

    Attributes:
        key: A short, unique name.
        title: The name for a reader.
        unit: The unit of all figures.
        rounds: By peer, one figure for each round; equal positions are of the same round.
        note: What a reader must know to judge the figures.
    """

    key: str
    title: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    note: str = ""

    def median(self, peer: str) -> float:
        """Return the median of a peer's figures, in `unit`."""
        return statistics.median(self.rounds[peer])

    def ratio(self, peer: str, against: str) -> float:
        """Return the figure of `peer` divided by that of `against`: the median of the ratios of the rounds.

        Figures of one round are compared, so that a machine that is slow for a while slows both.
        """
        pairs = zip(self.rounds[peer], self.rounds[against], strict=True)
        return statistics.median(figure / other for figure, other in pairs)


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the smallest of `figures` that at least `share` (0 to 1) of them do not exceed."""
    return sorted(figures)[max(0, math.ceil(share * len(figures)) - 1)]


def alternate(rounds: int, peers: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call each peer once a round, and return the figures of each.

    A first round warms up and is not counted. Every other round is in reverse order, so that no peer always
    follows the same other peer.
    """
    figures: dict[str, list[float]] = {peer: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in list(peers)[:: 1 if number % 2 else -1]:
            figure = peers[peer]()
            if number:
                figures[peer].append(figure)
    return figures
