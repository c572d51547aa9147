"""The loop: what it tells of, it tells to the right one."""

from __future__ import annotations

import os

from phoenix_ga.agent.core.loop import Loop


def test_news_of_a_closed_file_never_reach_the_next_one_with_its_number() -> None:
    loop = Loop()
    pipes = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
    told: list[str] = []

    def replace_the_other(number: int) -> None:
        if told:
            return
        told.append("first")
        other = pipes[1 - number][0]
        loop.unwatch(other)
        os.close(other)
        # A quiet pipe takes the number, as an accepted connection would.
        again, _ = os.pipe()
        os.dup2(again, other)
        loop.watch(other, lambda events: told.append(f"stale {events}"))

    for number, (reading, writing) in enumerate(pipes):
        loop.watch(reading, lambda events, number=number: replace_the_other(number))  # type: ignore[misc]
        os.write(writing, b"x")
    loop.call_later(0.1, loop.stop)
    loop.run()
    assert told == ["first"]
