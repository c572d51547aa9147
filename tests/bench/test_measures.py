"""Medians, ratios and percentiles, and the order of the peers."""

from __future__ import annotations

from collections.abc import Callable

from bench.measures import Measure, alternate, percentile


def test_a_ratio_compares_the_figures_of_one_round() -> None:
    # The machine was ten times slower in the last round.
    measure = Measure("key", "title", "µs", {"a": [1, 2, 30], "b": [2, 4, 60]})
    assert measure.median("a") == 2
    assert measure.ratio("a", "b") == 0.5
    assert measure.ratio("b", "a") == 2


def test_percentiles_are_figures_that_were_measured() -> None:
    figures = [float(figure) for figure in range(200, 0, -1)]
    assert percentile(figures, 0.5) == 100
    assert percentile(figures, 0.99) == 198
    assert percentile(figures, 1) == 200
    assert percentile([7.0], 0.99) == 7
    assert percentile([7.0], 0) == 7


def test_peers_take_turns_after_a_round_to_warm_up() -> None:
    order: list[str] = []

    def peer(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return len(order)

        return run

    figures = alternate(3, {"a": peer("a"), "b": peer("b")})
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [3, 6, 7], "b": [4, 5, 8]}
