"""Figures by peer and round, and what follows from them. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One thing that was measured, for several peers.

    key: short and unique. unit: of each figure, as it is printed. rounds: by peer, one figure a round; the
    figures at one place of all peers are of the same round. note: what a reader must know to judge it.
    """

    key: str
    title: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    note: str = ""

    def median(self, peer: str) -> float:
        """The median of a peer's figures, in `unit`."""
        return statistics.median(self.rounds[peer])

    def ratio(self, peer: str, against: str) -> float:
        """How many times the figure of `against` that of `peer` is: the median over the rounds.

        Each round is compared with itself, so that a machine that is slow for a while slows both.
        """
        pairs = zip(self.rounds[peer], self.rounds[against], strict=True)
        return statistics.median(figure / other for figure, other in pairs)


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest of `figures` that at least `share` (0 to 1) of them don't exceed."""
    return sorted(figures)[max(0, math.ceil(share * len(figures)) - 1)]


def alternate(rounds: int, peers: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Let the peers take turns for some rounds, and return the figures of each.

    A first round warms up and is not counted. Every other round goes the other way, so that no peer is always
    the one that follows a certain other.
    """
    figures: dict[str, list[float]] = {peer: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in list(peers)[:: 1 if number % 2 else -1]:
            figure = peers[peer]()
            if number:
                figures[peer].append(figure)
    return figures
