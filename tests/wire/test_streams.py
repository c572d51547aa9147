"""Streams: whatever comes in whatever order, credit is kept, and nobody sends more than there is room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.wire.frames import DATA, END, RESET, SKIP, WINDOW, encode_header
from phoenix_ga.wire.streams import Credit, Data, End, Reset, Skip, Stream, StreamViolation
from phoenix_ga.wire.units import Frame, Parser


def frames(data: bytes) -> list[Frame]:
    parser = Parser()
    parser.receive(data)
    units = list(parser)
    assert all(isinstance(unit, Frame) for unit in units)
    return [unit for unit in units if isinstance(unit, Frame)]


class Side:
    """One end of a stream. What it sends is on its way until the other end takes it."""

    def __init__(self, credit: int, window: int) -> None:
        self.stream = Stream(7, credit=credit, window=window)
        self.on_the_way = b""
        self.sent = self.received = self.consumed = 0
        self.ended = False

    def send(self, size: int) -> None:
        size = min(size, self.stream.credit)
        if self.stream.sending and size:
            self.on_the_way += self.stream.data_header(size) + bytes(size)
            self.sent += size

    def end(self) -> None:
        if self.stream.sending:
            self.on_the_way += self.stream.end({"sent": self.sent})

    def take(self, other: Side, count: int) -> None:
        """Take the first `count` bytes of what is on its way from the other end."""
        units = frames(other.on_the_way)[:count]
        other.on_the_way = b"".join(
            encode_header(unit.type, unit.stream, len(unit.payload)) + unit.payload
            for unit in frames(other.on_the_way)[count:]
        )
        for unit in units:
            event = self.stream.receive(unit)
            if isinstance(event, Data):
                assert not self.ended
                self.received += len(event.payload)
            elif isinstance(event, End):
                self.ended = True
                assert event.message == {"sent": self.received}

    def consume(self, size: int) -> None:
        size = min(size, self.received - self.consumed)
        self.consumed += size
        self.on_the_way += self.stream.consumed(size)


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "take", "consume", "end"]),
        st.booleans(),
        st.integers(1, 300),
    ),
    max_size=200,
)


@given(steps, st.integers(1, 500), st.integers(1, 500))
def test_any_order_of_steps_keeps_the_credit(
    steps: list[tuple[str, bool, int]], one_window: int, two_window: int
) -> None:
    one, two = Side(two_window, one_window), Side(one_window, two_window)
    for step, first, number in steps:
        side, other = (one, two) if first else (two, one)
        if step == "send":
            side.send(number)
        elif step == "take":
            side.take(other, number % 4)
        elif step == "consume":
            side.consume(number)
        else:
            side.end()
        for here, there, window in ((one, two, one_window), (two, one, two_window)):
            assert here.stream.credit >= 0
            assert here.stream.room >= 0
            # What is on its way or was not consumed never takes more than the window.
            assert there.sent - here.consumed <= window
    for side, other in ((one, two), (two, one), (one, two)):
        side.take(other, 1000)
        side.consume(1 << 30)
        other.take(side, 1000)
    assert (one.received, two.received) == (two.sent, one.sent)


@given(st.integers(1, 4096), st.lists(st.integers(1, 4096), min_size=1, max_size=50))
def test_a_sender_never_waits_for_ever(window: int, sizes: list[int]) -> None:
    sender, receiver = Side(window, 1), Side(1, window)
    for size in sizes:
        left = size
        while left:
            before = sender.sent
            sender.send(left)
            assert sender.sent > before, "no credit came, although all is consumed"
            left -= sender.sent - before
            receiver.take(sender, 100)
            receiver.consume(1 << 30)
            sender.take(receiver, 100)
    assert receiver.received == sum(sizes)


CHEATS = {
    "more than there is room for": Frame(DATA, 1, bytes(11)),
    "a window of three bytes": Frame(WINDOW, 1, bytes(3)),
    "more credit than there can be": Frame(WINDOW, 1, b"\xff\xff\xff\xff"),
    "a skip where none belongs": Frame(SKIP, 1, bytes(8)),
    "an unknown type": Frame(9, 1, b""),
    "a closing message that is no JSON": Frame(END, 1, b"{"),
    "a closing message that is no object": Frame(END, 1, b"[]"),
    "a closing message without end": Frame(END, 1, b" " * 70_000),
}


@pytest.mark.parametrize("frame", CHEATS.values(), ids=CHEATS.keys())
def test_who_cheats_is_found_out(frame: Frame) -> None:
    stream = Stream(1, credit=10, window=10)
    with pytest.raises(StreamViolation):
        stream.receive(frame)


def test_nothing_comes_after_the_end() -> None:
    stream = Stream(1, credit=10, window=10)
    assert isinstance(stream.receive(Frame(END, 1, b"")), End)
    for frame in (Frame(END, 1, b""), Frame(DATA, 1, b"x")):
        with pytest.raises(StreamViolation):
            stream.receive(frame)
    # The other direction goes on.
    assert isinstance(stream.receive(Frame(WINDOW, 1, bytes(4))), Credit)
    assert stream.sending
    stream.end({})
    assert stream.over


def test_a_direction_that_does_not_exist_takes_nothing() -> None:
    stream = Stream(1, credit=0, window=0, sends=False)
    assert stream.over
    with pytest.raises(StreamViolation):
        stream.receive(Frame(DATA, 1, b""))
    with pytest.raises(ValueError, match="exceed the credit"):
        stream.data_header(1)


def test_a_reset_says_why_and_ends_both_directions() -> None:
    here, there = Stream(1, credit=10, window=10), Stream(1, credit=10, window=10)
    (frame,) = frames(here.reset("the disk is full", 28))
    event = there.receive(frame)
    assert isinstance(event, Reset)
    assert (event.error.text, event.error.code) == ("the disk is full", 28)
    assert here.over
    assert there.over
    for payload in (b"", b"\xff", b"[]", b'{"bufb64": 1}'):
        event = Stream(1, credit=0, window=0).receive(Frame(RESET, 1, payload))
        assert isinstance(event, Reset)
        assert event.error.code == -1


def test_a_skip_stands_for_zeros() -> None:
    (frame,) = frames(Stream(1, credit=0, window=0).skip(1 << 40))
    event = Stream(1, credit=0, window=1, skips=True).receive(frame)
    assert isinstance(event, Skip)
    assert event.length == 1 << 40
    with pytest.raises(StreamViolation):
        Stream(1, credit=0, window=1, skips=True).receive(Frame(SKIP, 1, b"\xff" * 8))


def test_zeros_without_end_are_not_taken() -> None:
    stream = Stream(1, credit=0, window=10, skips=True)
    stream.receive(Frame(SKIP, 1, bytes(8)))
    stream.receive(Frame(DATA, 1, b"x"))
    stream.receive(Frame(SKIP, 1, bytes(8)))
    # No data at all makes no difference.
    stream.receive(Frame(DATA, 1, b""))
    with pytest.raises(StreamViolation, match="two SKIP frames in a row"):
        stream.receive(Frame(SKIP, 1, bytes(8)))


def test_small_pieces_do_not_cost_a_frame_each() -> None:
    stream = Stream(1, credit=0, window=1000)
    answers = [stream.consumed(1) for _ in range(1000)]
    assert sum(map(bool, answers)) == 2
