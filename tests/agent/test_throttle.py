"""Bulk work pauses while requests follow each other, and only then, and always goes on."""

from __future__ import annotations

import hashlib
import os
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.core import throttle as throttle_module
from phoenix_ga.agent.core.channel import WRITE_PIECE
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.endpoints.endpoint import Endpoint
from phoenix_ga.agent.operations.digest import ThrottledDigest
from phoenix_ga.agent.protocol.streams import Streams


class Clock:
    """A clock that moves only during a sleep, or when it is set."""

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
    monkeypatch.setattr(throttle_module, "monotonic", clock.monotonic)
    monkeypatch.setattr(throttle_module, "sleep", clock.sleep)
    return clock


@pytest.fixture
def throttle() -> Throttle:
    return Throttle()


def note_two(throttle: Throttle) -> None:
    throttle.note_request()
    throttle.note_request()


def test_a_single_request_does_not_count(clock: Clock, throttle: Throttle) -> None:
    for _ in range(3):
        throttle.note_request()
        assert not throttle.requests_active
        clock.now += 0.021


def test_work_pauses_for_longer_than_it_took_while_requests_come(clock: Clock, throttle: Throttle) -> None:
    note_two(throttle)
    throttle.pause(clock.now - 0.001)
    assert clock.slept == [pytest.approx(0.002)]


def test_work_that_was_itself_kept_waiting_pauses_briefly(clock: Clock, throttle: Throttle) -> None:
    note_two(throttle)
    throttle.pause(clock.now - 10)
    assert clock.slept == [0.005]


def test_work_does_not_pause_if_no_request_came_lately(clock: Clock, throttle: Throttle) -> None:
    throttle.pause(clock.now - 0.001)
    note_two(throttle)
    active = [throttle.requests_active]
    clock.now += 0.021
    active.append(throttle.requests_active)
    assert active == [True, False]
    throttle.pause(clock.now - 0.001)
    assert clock.slept == [0, 0]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_digest_is_the_same_and_pauses_while_requests_come(
    clock: Clock, throttle: Throttle, algorithm: str
) -> None:
    data = os.urandom(1_000_000)
    computed = ThrottledDigest(algorithm, throttle)
    for start in range(0, len(data), 250_000):
        note_two(throttle)
        computed.update(data[start : start + 250_000])
    assert computed.hexdigest() == hashlib.new(algorithm, data).hexdigest()
    assert sum(map(bool, clock.slept)) >= 4


class Endless(Endpoint):
    def pull(self, size: int) -> bytes:
        return bytes(size)


class Active(Throttle):
    """A throttle for which requests are active a given number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    @property
    def requests_active(self) -> bool:
        self._times -= 1
        return self._times >= 0


def frame_sizes(throttle: Throttle, frames: int) -> list[int]:
    """Return the sizes of the first frames that three endless streams send."""
    loop = Loop()
    sizes: list[int] = []

    def send(pieces: list[bytes]) -> None:
        sizes.append(sum(map(len, pieces)))
        if len(sizes) == frames:
            loop.stop()

    channel = SimpleNamespace(send=send, output_size=0)
    streams = Streams(loop, Workers(1), cast(Any, channel), throttle, 10, count(1).__next__)
    for _ in range(3):
        streams.open(Endless(), 1 << 40).ready()
    loop.run()
    return sizes


def test_frames_are_short_while_requests_come_and_no_longer(throttle: Throttle) -> None:
    assert set(frame_sizes(throttle, 20)) == {4 * WRITE_PIECE}
    assert frame_sizes(Active(10), 20) == [WRITE_PIECE] * 10 + [4 * WRITE_PIECE] * 10


def test_streams_go_on_however_long_requests_come() -> None:
    assert frame_sizes(Active(1_000_000), 100) == [WRITE_PIECE] * 100
