"""Seeds, rounds, and finding the input of a round that makes it fail."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import pytest

Input = TypeVar("Input")

REGRESSIONS: Final = Path(__file__).parent / "regressions"
#: Set these to run one round again: the seed and the number that a failure printed.
SEED: Final = "PHOENIX_FUZZ_SEED"
ROUND: Final = "PHOENIX_FUZZ_ROUND"
# Runs that look for a smaller input.
_RUNS_MAX: Final = 40


def seed() -> int:
    """Return the seed: of the environment, or a new one."""
    return int(os.environ.get(SEED, random.randrange(10**9)))


def rounds(count: int) -> Iterator[int]:
    """Yield the numbers of the rounds: all, or the one of the environment."""
    only = os.environ.get(ROUND)
    yield from range(count) if only is None else [int(only)]


def chance(seed: int, number: int) -> random.Random:
    """Return the source of randomness of a round."""
    return random.Random(f"{seed}/{number}")


def fail(seed: int, number: int, problem: str, found: object, directory: Path) -> None:
    """Fail, and say how to run the round again. found: what made it fail."""
    path = directory / f"found-{seed}-{number}"
    path.write_bytes(found if isinstance(found, bytes) else repr(found).encode())
    pytest.fail(
        f"{problem}\nseed {seed}, round {number}; again: {SEED}={seed} {ROUND}={number} pytest tests/fuzz\n"
        f"input, also in {path}: {found!r:.2000}",
        pytrace=False,
    )


def shrink(inputs: Sequence[Input], fails: Callable[[Sequence[Input]], bool]) -> Sequence[Input]:
    """Return as few of the inputs as still make `fails` true, within a limited number of runs."""
    runs = 0
    size = len(inputs) // 2
    while size and runs < _RUNS_MAX:
        start = 0
        while start < len(inputs) and runs < _RUNS_MAX:
            fewer = [*inputs[:start], *inputs[start + size :]]
            runs += 1
            if fewer and fails(fewer):
                inputs = fewer
            else:
                start += size
        size //= 2
    return inputs


def corpus(kind: str) -> list[Path]:
    """Return the inputs that once made something fail."""
    return sorted((REGRESSIONS / kind).iterdir())
