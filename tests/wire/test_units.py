"""The incremental parser: the same units whatever the pieces, and a way back from any garbage."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.wire.frames import (
    DATA,
    HEADER_SIZE,
    MAGIC,
    PAYLOAD_LIMIT,
    FrameError,
    decode_header,
    encode_header,
)
from phoenix_ga.wire.objects import split_objects
from phoenix_ga.wire.units import Damage, Frame, Line, Parser, resync_padding

LIMIT = 64

# Bytes that mean something to the parser are more likely than others.
noise = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r\n", b"\xff", b"\xfe", bytes([MAGIC]), b" ", b"\t", b"{}", b'{"a": 1}\n', b"\0"]),
        st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"'", b"\\", b'{"a}": ["\\""]}', b"{'\"': 1}"]),
        st.binary(max_size=100),
        st.builds(
            lambda stream, payload: encode_header(DATA, stream, len(payload)) + payload,
            st.integers(0, 2**32 - 1),
            st.binary(max_size=100),
        ),
    ),
    max_size=12,
).map(b"".join)


def frame(payload: bytes, stream: int = 7) -> bytes:
    return encode_header(DATA, stream, len(payload)) + payload


def parse(*pieces: bytes, line_limit: int = LIMIT, spans_lines: bool = False) -> list[str]:
    """Return the units of the pieces, and the objects on a line apart, as text to compare."""
    parser = Parser(line_limit)
    parser.spans_lines = spans_lines
    units: list[str] = []
    for piece in pieces:
        parser.receive(piece)
        for unit in parser:
            units += as_text(unit)
    return units


def as_text(unit: Line | Frame | Damage) -> list[str]:
    parts = [Line(part) for part in split_objects(unit.data)] if isinstance(unit, Line) else [unit]
    return [*map(repr, parts)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@given(noise, st.lists(st.integers(0, 1000), max_size=8), st.booleans())
def test_any_split_of_any_bytes_gives_the_same_units(data: bytes, cuts: list[int], spans_lines: bool) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in zip(edges, edges[1:])]
    whole = parse(data, spans_lines=spans_lines)
    assert parse(*pieces, spans_lines=spans_lines) == whole
    assert parse(*bytewise(data), spans_lines=spans_lines) == whole


@given(noise, st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 5))
def test_what_was_held_is_not_lost_where_the_buffer_is_used_again(data: bytes, cuts: list[int], taken: int) -> None:
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parser = Parser(LIMIT)
    units: list[str] = []
    for start, end in zip(bounds, bounds[1:]):
        buffer = bytearray(data[start:end])
        parser.receive(memoryview(buffer))
        # Whoever is busy asks for some now, and for the others when there is room.
        units += [text for _, unit in zip(range(taken), parser) for text in as_text(unit)]
        parser.hold()
        buffer[:] = bytes(len(buffer))
        units += [text for unit in parser for text in as_text(unit)]
    assert units == parse(data)


@given(noise, st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 5))
def test_parts_of_data_are_returned_as_they_come(data: bytes, cuts: list[int], taken: int) -> None:
    """All other units are the same, and the bytes of each run of DATA frames too, but for one that has no end."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parser = Parser(LIMIT, splits_data=True)
    units: list[Line | Frame | Damage] = []
    for start, end in zip(bounds, bounds[1:]):
        buffer = bytearray(data[start:end])
        parser.receive(memoryview(buffer))
        units += map(copied, (unit for _, unit in zip(range(taken), parser)))
        parser.hold()
        buffer[:] = bytes(len(buffer))
        units += map(copied, parser)
    left = parser._data_left
    expected = [copied(unit) for unit in parsed(data + bytes(left))]
    if left:
        last = expected[-1]
        assert isinstance(last, Frame)
        expected[-1] = Frame(DATA, last.stream, last.payload[:-left])
    assert joined(units) == joined(expected)


def copied(unit: Line | Frame | Damage) -> Line | Frame | Damage:
    return Frame(unit.type, unit.stream, bytes(unit.payload)) if isinstance(unit, Frame) else unit


def parsed(data: bytes) -> list[Line | Frame | Damage]:
    parser = Parser(LIMIT)
    parser.receive(data)
    return [*parser]


def joined(units: list[Line | Frame | Damage]) -> list[str]:
    """Return the units as text, the payloads of DATA frames of one stream that follow each other joined."""
    texts: list[str] = []
    run: tuple[int, bytes] | None = None
    for unit in units:
        if isinstance(unit, Frame) and unit.type == DATA:
            run = unit.stream, (run[1] if run is not None and run[0] == unit.stream else b"") + bytes(unit.payload)
            if len(run[1]) > len(unit.payload):
                texts.pop()
            texts.append(repr(run))
        else:
            run = None
            texts += as_text(unit)
    return texts


def test_a_frame_that_came_whole_is_not_copied() -> None:
    parser = Parser()
    data = frame(b"one") + frame(b"two")
    parser.receive(data)
    units = [unit for unit in parser if isinstance(unit, Frame)]
    assert [bytes(unit.payload) for unit in units] == [b"one", b"two"]
    assert all(isinstance(unit.payload, memoryview) and unit.payload.obj is data for unit in units)


@given(noise)
def test_a_line_after_the_padding_is_always_found(garbage: bytes) -> None:
    assert parse(garbage, resync_padding(), b'{"execute": "sync"}\n')[-1] == repr(Line(b'{"execute": "sync"}'))


@given(noise)
def test_a_frame_after_the_padding_is_always_found(garbage: bytes) -> None:
    assert parse(garbage, resync_padding(), frame(b"payload"))[-1] == repr(Frame(DATA, 7, b"payload"))


@given(st.lists(noise))
def test_a_parser_never_holds_more_than_its_limits(pieces: list[bytes]) -> None:
    parser = Parser(LIMIT)
    for piece in pieces:
        parser.receive(piece)
        for _ in parser:
            pass
        assert parser.pending <= max(LIMIT, HEADER_SIZE + PAYLOAD_LIMIT)


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=40).map(lambda data: (True, data)),
            st.binary(max_size=90).map(lambda data: (False, data)),
        )
    )
)
def test_what_is_sent_as_lines_and_frames_comes_out_so(units: list[tuple[bool, bytes]]) -> None:
    sent = b""
    expected = []
    for is_line, data in units:
        if is_line:
            text = b"{" + data.hex().encode()[: LIMIT - 2] + b"}"
            sent += text + b"\n"
            expected.append(repr(Line(text)))
        else:
            sent += frame(data)
            expected.append(repr(Frame(DATA, 7, data)))
    assert parse(sent) == expected


@pytest.mark.parametrize(
    ("data", "units"),
    [
        (b'{"a": 1}\n', [Line(b'{"a": 1}')]),
        (b'{"a": 1}\r\n', [Line(b'{"a": 1}')]),
        (b"\n\r\n \t\n", []),
        (b"  {}\n", [Line(b"{}")]),
        (b"{}\n{}\n", [Line(b"{}"), Line(b"{}")]),
        (b"half\xff{}\n", [Line(b"{}")]),
        (b"\xff\xff\xff{}\n", [Line(b"{}")]),
        (b"\xff", []),
        (b"x" * LIMIT + b"\n", [Line(b"x" * LIMIT)]),
        (b"x" * (LIMIT + 1) + b"\n{}\n", [Damage(90, "line is longer than the limit of 64 bytes"), Line(b"{}")]),
        (b"x" * (LIMIT * 9) + b"\xff{}\n", [Damage(90, "line is longer than the limit of 64 bytes"), Line(b"{}")]),
        (frame(b""), [Frame(DATA, 7, b"")]),
        (
            frame(b"\n\xff\xfb") + b"{}\n" + frame(b"b"),
            [Frame(DATA, 7, b"\n\xff\xfb"), Line(b"{}"), Frame(DATA, 7, b"b")],
        ),
        (b"\xfb damaged header\n{}\n", [Damage(74, "damaged frame header"), Line(b"{}")]),
        (b"\xfb damaged header\xff{}\n", [Damage(74, "damaged frame header"), Line(b"{}")]),
    ],
)
def test_whole_bytewise_and_with_a_tail(data: bytes, units: list[Line | Frame | Damage]) -> None:
    expected = [repr(unit) for unit in units]
    assert parse(data) == expected
    assert parse(*bytewise(data)) == expected
    assert parse(data + b"\n[tail") == expected


def test_a_parser_is_idle_only_between_units() -> None:
    parser, idle = Parser(LIMIT), []
    for data in (b"", b"{", b"x" * LIMIT, b"\n"):
        parser.receive(data)
        list(parser)
        idle.append(parser.idle)
    assert idle == [True, False, False, True]


def test_a_reset_forgets_the_half_of_a_unit() -> None:
    parser = Parser()
    parser.receive(frame(b"payload")[:-1])
    assert parser.next_unit() is None
    parser.reset()
    parser.receive(b"{}\n")
    assert repr(parser.next_unit()) == repr(Line(b"{}"))


def test_an_oversized_line_is_dropped_as_it_comes() -> None:
    parser = Parser(line_limit=1024)
    refused = 0
    for _ in range(2000):
        parser.receive(b"x" * 1000)
        refused += sum(isinstance(unit, Damage) for unit in parser)
        assert parser.pending <= 2024
    assert refused == 1


def test_a_frame_header_says_type_stream_and_length() -> None:
    assert decode_header(encode_header(3, 0xDEADBEEF, 262144)) == (3, 0xDEADBEEF, 262144)


def test_a_frame_larger_than_the_limit_is_not_made() -> None:
    with pytest.raises(FrameError, match="at most 262144"):
        encode_header(DATA, 1, PAYLOAD_LIMIT + 1)


def test_one_flipped_bit_in_a_header_is_noticed() -> None:
    header = encode_header(DATA, 5, 1000)
    for bit in range(len(header) * 8):
        damaged = bytearray(header)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            decode_header(damaged)


def test_random_bytes_are_seldom_a_frame() -> None:
    taken = 0
    for _ in range(2000):
        try:
            decode_header(bytes([MAGIC]) + os.urandom(HEADER_SIZE - 1))
            taken += 1
        except FrameError:
            pass
    assert taken <= 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": 1}', [b'{"a": 1}']),
        (b'{"a": "}"}', [b'{"a": "}"}']),
        (b'{"a": "\\"}"}', [b'{"a": "\\"}"}']),
        (b'{"a": "\\\\"}', [b'{"a": "\\\\"}']),
        (b"{'a': '}\"'}", [b"{'a': '}\"'}"]),
        (b'{"a": [{}, {}]}{"b": 2} [3]', [b'{"a": [{}, {}]}', b'{"b": 2}', b"[3]"]),
        (b'Foo, don\'t {"a": 1}', [b'Foo, don\'t {"a": 1}']),
        (b'{"a": 1', []),
        (b'{"a": "}', []),
    ],
)
def test_an_object_ends_where_its_last_bracket_closes(data: bytes, expected: list[bytes]) -> None:
    assert parse(data) == parse(*bytewise(data)) == [repr(Line(text)) for text in expected]


def test_a_newline_ends_a_line_but_for_those_who_write_objects_over_several() -> None:
    data = b'{"a":\n[1,\n2]\n}\n{"b": "\n'
    assert parse(data)[0] == repr(Line(b'{"a":'))
    assert parse(data, spans_lines=True) == [repr(Line(b'{"a":\n[1,\n2]\n}')), repr(Line(b'{"b": "'))]


def test_a_frame_may_follow_an_object_at_once() -> None:
    assert parse(b'{"a": 1}' + frame(b"one\ntwo")) == [repr(Line(b'{"a": 1}')), repr(Frame(DATA, 7, b"one\ntwo"))]


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_with_lines_only_a_newline_ends_a_line_and_nothing_else_does(data: bytes, cuts: list[int]) -> None:
    stream = data.replace(b"\xfb", b"{") + b'{"a": 1}{"b": 2}\n'
    parser = Parser(LIMIT, lines_only=True)
    units = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)]):
        parser.receive(stream[start:end])
        units += list(parser)
    lines = [line.rpartition(b"\xff")[2].lstrip(b"\r\n\t ") for line in stream.split(b"\n")]
    assert [unit.data for unit in units if isinstance(unit, Line)] == [
        line.removesuffix(b"\r") for line in lines if line
    ]
