"""An agent bears a million random inputs: requests of both dialects, frames, damage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fuzz import rounds
from tests.fuzz.live_agent import GROWTH_MAX, INPUTS_PER_ROUND, Broken, LiveAgent
from tests.fuzz.requests import Known, Requests

# The first fifth of the rounds, and at least these: then an agent has loaded all modules, and met the largest inputs.
WARM_UP = 20
CHECKED = 40
INPUTS = 1_000_000
# The soak is split, so that each part ends within minutes.
PARTS = 10


def fails(directory: Path, inputs: Sequence[bytes]) -> bool:
    """Return whether a new agent does not bear these inputs."""
    directory.mkdir(exist_ok=True)
    with LiveAgent(Path(f"{directory}/{len(list(directory.iterdir()))}")) as live:
        try:
            live.replay(inputs)
            live.check_nothing_left(2**62)
        except Broken:
            return True
    return False


def fuzz(directory: Path, count: int, seed: int) -> None:
    """Run rounds of `count` inputs in all."""
    memory = 0
    warm_up = max(count // INPUTS_PER_ROUND // 5, WARM_UP)
    with LiveAgent(directory / "agent") as live:
        for number in rounds.rounds(count // INPUTS_PER_ROUND):
            try:
                live.run(seed, number)
                if number % CHECKED == CHECKED - 1:
                    live.check_nothing_left(memory or 2**62)
                if number == warm_up - 1:
                    live.check_nothing_left(2**62)
                    memory = live.agent.memory() + GROWTH_MAX
            except (Broken, OSError) as error:
                found: Sequence[bytes] = live.inputs(seed, number)
                if fails(directory / "again", found):
                    found = rounds.shrink(found, lambda inputs: fails(directory / "again", inputs))
                rounds.fail(seed, number, f"{error}\n{live.agent.log()[-2000:]}", b"".join(found), directory)
        live.check_nothing_left(memory or 2**62)
        print(f"seed {seed}: memory {memory - GROWTH_MAX} then {live.agent.memory()}, ping {live.worst_ping:.3f} s")


@pytest.mark.root
@pytest.mark.timeout(300)
def test_an_agent_bears_random_input(tmp_path: Path) -> None:
    fuzz(tmp_path, INPUTS // 100, rounds.seed())


@pytest.mark.root
@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_an_agent_bears_a_million_random_inputs(tmp_path: Path, part: int) -> None:
    fuzz(tmp_path, INPUTS // PARTS, rounds.seed() + part)


@pytest.mark.root
@pytest.mark.parametrize("path", rounds.corpus("agent"), ids=lambda path: path.name)
def test_an_agent_bears_what_was_once_too_much(tmp_path: Path, path: Path) -> None:
    with LiveAgent(tmp_path / "agent") as live:
        for _ in range(3):
            live.replay([path.read_bytes()])
        live.check_nothing_left(2**26)


def test_what_fails_is_made_small() -> None:
    assert rounds.shrink(range(100), lambda numbers: 42 in numbers) == [42]
    assert rounds.shrink(range(100), lambda numbers: {3, 99} <= set(numbers)) == [3, 99]


def test_a_failure_says_how_to_see_it_again(tmp_path: Path) -> None:
    with pytest.raises(
        pytest.fail.Exception, match="seed 7, round 3; again: PHOENIX_FUZZ_SEED=7 PHOENIX_FUZZ_ROUND=3"
    ):
        rounds.fail(7, 3, "it broke", b"the input", tmp_path)
    assert (tmp_path / "found-7-3").read_bytes() == b"the input"


def test_a_seed_decides_all_input(tmp_path: Path) -> None:
    def make() -> list[bytes]:
        requests = Requests(rounds.chance(5, 6), Known("/files"))
        return [*requests.openings(), *(requests.input() for _ in range(500))]

    assert make() == make()
    assert len(set(make())) > 400
