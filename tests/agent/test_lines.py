"""Lines to calls: which dialect a request is in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

# As in an agent that has met such lines: otherwise the reader asks for it.
import phoenix_ga.agent.protocol.json_reader  # noqa: F401
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.protocol.lines import LineReader, whole_line
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.units import Line, Parser

LIMIT = 64


@pytest.fixture
def reader() -> LineReader:
    return LineReader(cast(Any, SimpleNamespace(native=NATIVE, qga=QGA)), qga_first=False)


def test_each_request_is_read_in_the_dialect_that_its_name_shows(reader: LineReader) -> None:
    for _ in range(2):
        native, guest = reader.read_plain(b'{"execute": "ping"}'), reader.read_plain(b'{"execute": "guest-ping"}')
        assert native is not None
        assert guest is not None
        assert (native.dialect, guest.dialect) == (NATIVE, QGA)


def test_an_object_may_span_lines_in_the_dialect_of_qemu_only(reader: LineReader) -> None:
    reader.read_plain(b'{"execute": "ping"}')
    assert not reader.spans_lines
    assert reader.read(b"{'execute': 'guest-ping'}")[0].dialect is QGA
    assert reader.spans_lines


def test_a_line_that_is_not_plain_json_is_left_to_the_lenient_reader(reader: LineReader) -> None:
    line = b"{'execute': 'guest-ping'} {'execute': 'guest-info'}"
    assert reader.read_plain(line) is None
    assert [call.request.execute for call in reader.read(line) if call.request] == ["guest-ping", "guest-info"]


@given(
    st.one_of(
        st.binary(max_size=100),
        st.dictionaries(st.text(), st.recursive(st.text(), st.lists), max_size=3).map(json.dumps).map(str.encode),
    ),
    st.sampled_from([b"\n", b"\r\n", b" \n", b""]),
    st.booleans(),
)
def test_a_whole_line_that_is_valid_means_the_same_to_the_parser(data: bytes, end: bytes, spans_lines: bool) -> None:
    line = whole_line(memoryview(data + end), LIMIT) if data else None
    try:
        decode_json(line or b"")
    except JsonError:
        return
    assert line is not None
    parser = Parser(LIMIT)
    parser.spans_lines = spans_lines
    parser.receive(line)
    assert [unit.data.strip() for unit in parser if isinstance(unit, Line)] == [line.strip()]


@pytest.mark.parametrize("data", [b"{}", b"{}\n{}\n", b"ping\n", b"{" + b" " * LIMIT + b"}\n"])
def test_all_else_is_left_to_the_parser(data: bytes) -> None:
    assert whole_line(memoryview(data), LIMIT) is None
