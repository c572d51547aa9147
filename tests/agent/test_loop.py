"""The loop: what it tells of, it tells to the right one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.linux.source import PolledFile


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


@pytest.mark.root
def test_asking_for_events_does_not_take_them_away(tmp_path: Path) -> None:
    # The kernel reports a change of the mounts to the first poll(2) alone.
    loop = Loop()
    source = PolledFile("/proc/self/mountinfo")
    told: list[int] = []

    def changed(events: int) -> None:
        told.append(events)
        loop.stop()

    loop.watch(source.fd, changed, source.events)
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        assert loop.has_pending
        assert loop.has_pending
        loop.call_later(30, loop.stop)
        loop.run()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
        source.close()
    assert told


def test_an_event_that_was_fetched_is_dropped_if_its_descriptor_is_closed() -> None:
    loop = Loop()
    told: list[str] = []
    reader, writer = os.pipe()
    loop.watch(reader, lambda events: told.append("old"))
    os.write(writer, b"x")
    assert loop.has_pending
    loop.unwatch(reader)
    os.close(reader)
    again, other = os.pipe()
    assert again == reader
    loop.watch(again, lambda events: told.append("new"))
    loop.call_later(0.05, loop.stop)
    loop.run()
    for fd in (writer, again, other):
        os.close(fd)
    assert told == []
