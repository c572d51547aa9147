"""Goals, and whether measures meet them."""

from __future__ import annotations

import pytest

from bench.goals import GOALS, Goal, judge
from bench.measures import Measure

MEASURES = {
    "speed": Measure("speed", "speed", "MB/s", {"phoenix": [10, 12, 11], "qemu-ga": [5, 6, 4]}),
    "wakeups": Measure("wakeups", "wake-ups", "a minute", {"phoenix": [0], "qemu-ga": [600]}),
}


@pytest.mark.parametrize(
    ("goal", "value", "unit", "met"),
    [
        (Goal("", "speed", against="qemu-ga", at_least=2), 2, "x", True),
        (Goal("", "speed", against="qemu-ga", at_least=2.1), 2, "x", False),
        (Goal("", "speed", at_most=11), 11, "MB/s", True),
        (Goal("", "speed", "qemu-ga", at_most=4.9), 5, "MB/s", False),
        (Goal("", "wakeups", at_most=0), 0, "a minute", True),
        (Goal("", "nothing", at_most=0), None, "", None),
    ],
    ids=str,
)
def test_a_goal_is_met_or_missed(goal: Goal, value: float | None, unit: str, met: bool | None) -> None:
    verdict = judge(goal, MEASURES)
    assert (verdict.value, verdict.unit, verdict.met) == (value, unit, met)
    assert verdict.bound == f"{goal.bound} {unit}".rstrip()


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.text)
def test_each_goal_has_one_bound(goal: Goal) -> None:
    assert (goal.at_least is None) != (goal.at_most is None)
    assert goal.bound in (f"at least {goal.at_least:g}" if goal.at_most is None else f"at most {goal.at_most:g}")
