"""Bulk work gives way while requests come, and only then, and is never kept from going on."""

from __future__ import annotations

import hashlib
import os
from itertools import count
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.core import throttle as give_way
from phoenix_ga.agent.core.channel import WRITE_PIECE
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.operations import digest
from phoenix_ga.agent.protocol.streams import Endpoint, Streams


class Clock:
    """A clock that only moves when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(give_way, "monotonic", clock.monotonic)
    monkeypatch.setattr(give_way, "sleep", clock.sleep)
    forget(monkeypatch)
    return clock


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_last", "_until"):
        monkeypatch.setattr(give_way, name, 0.0)


def hurry() -> None:
    """Two requests are answered."""
    give_way.hurry()
    give_way.hurry()


def test_one_request_alone_does_not_count(clock: Clock) -> None:
    for _ in range(3):
        give_way.hurry()
        assert not give_way.in_a_hurry()
        clock.now += 0.021


def test_work_rests_for_longer_than_it_took_while_requests_come(clock: Clock) -> None:
    hurry()
    give_way.rest(clock.now - 0.001)
    assert clock.slept == [pytest.approx(0.002)]


def test_work_that_was_kept_waiting_itself_does_not_rest_for_long(clock: Clock) -> None:
    hurry()
    give_way.rest(clock.now - 10)
    assert clock.slept == [0.005]


def test_work_does_not_rest_where_no_request_came_lately(clock: Clock) -> None:
    give_way.rest(clock.now - 0.001)
    hurry()
    assert give_way.in_a_hurry()
    clock.now += 0.021
    assert not give_way.in_a_hurry()
    give_way.rest(clock.now - 0.001)
    assert clock.slept == [0, 0]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_digest_is_the_same_and_rests_while_requests_come(clock: Clock, algorithm: str) -> None:
    data = os.urandom(1_000_000)
    computed = digest.new_digest(algorithm)
    for start in range(0, len(data), 250_000):
        hurry()
        computed.update(data[start : start + 250_000])
    assert computed.hexdigest() == hashlib.new(algorithm, data).hexdigest()
    assert sum(map(bool, clock.slept)) >= 12


class Endless(Endpoint):
    def pull(self, size: int) -> bytes:
        return bytes(size)


def sent_in(seconds: float, requests: bool) -> list[int]:
    """Return the sizes of what three endless streams send in so long, while requests come or not."""
    loop = Loop()
    sizes: list[int] = []
    channel = SimpleNamespace(send=lambda pieces: sizes.append(sum(map(len, pieces))), output_size=0)
    streams = Streams(loop, Workers(1), cast(Any, channel), 10, count(1).__next__)
    for _ in range(3):
        streams.open(Endless(), 1 << 40).ready()
    end = monotonic() + seconds

    def look() -> None:
        if requests:
            hurry()
        if monotonic() >= end:
            loop.stop()
        else:
            loop.call_later(0.002, look)

    look()
    loop.run()
    return sizes


def test_streams_rest_while_requests_come_but_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    alone = sum(sent_in(0.3, requests=False))
    beside = sum(sent_in(0.3, requests=True))
    assert alone / 100 < beside < alone * 0.8


def test_frames_are_short_while_requests_come(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    assert set(sent_in(0.05, requests=False)) == {4 * WRITE_PIECE}
    assert max(sent_in(0.05, requests=True)) == WRITE_PIECE


def test_streams_go_on_as_before_when_no_more_requests_come(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    hurry()
    assert give_way.in_a_hurry()
    assert sum(sent_in(0.1, requests=False)) > 0
    assert not give_way.in_a_hurry()
