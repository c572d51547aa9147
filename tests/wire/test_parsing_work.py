"""The work of parsing grows with the number of bytes, and no faster, whatever the bytes are.

Work is counted, not timed: the calls that search or copy a buffer, and the bytes that each of them looks at.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.protocol.lines import LineReader, NotLoadedError
from phoenix_ga.wire import units
from phoenix_ga.wire.json_text import JsonError
from phoenix_ga.wire.objects import OBJECTS_MAX, split_objects
from phoenix_ga.wire.units import Line, Parser

SIZE = 8 * 1024 * 1024
HEADS = [b"", b"{", b'{"']
PATTERNS = [
    b"{}",
    b"[",
    b'"',
    b"'",
    b"\\",
    b'\\"',
    b"1",
    b" ",
    b"0,",
    b"{'",
    b"\xff",
    b"a\xff",
    b"\n",
    b"a\n",
    b"\xfe",
    b"a\xfb",
]
patterns = pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
heads = pytest.mark.parametrize("head", HEADS, ids=repr)


class Work:
    """Counts what is done with the buffers made of its classes."""

    def __init__(self) -> None:
        self.calls = 0
        self.looked_at = 0

    def count(self, size: int) -> None:
        self.calls += 1
        self.looked_at += size

    def buffer_type(self, base: Any) -> Any:
        work = self

        class Counted(base):  # type: ignore[misc]
            def find(self, wanted: Any, start: int = 0, end: int | None = None) -> Any:
                end = len(self) if end is None else min(end, len(self))
                found = base.find(self, wanted, start, end)
                work.count(max(0, (end if found < 0 else found + 1) - start))
                return found

            def index(self, wanted: Any, start: int = 0) -> Any:
                found = base.index(self, wanted, start)
                work.count(found + 1 - start)
                return found

            def translate(self, *arguments: Any) -> Any:
                work.count(len(self))
                return base.translate(self, *arguments)

            def decode(self, *arguments: Any) -> Any:
                work.count(len(self))
                return base.decode(self, *arguments)

            def __getitem__(self, key: Any) -> Any:
                found = base.__getitem__(self, key)
                work.count(len(found) if isinstance(key, slice) else 1)
                return found

        return Counted


def on_one_line(pattern: bytes) -> bytes:
    return pattern.replace(b"\n", b"\t").replace(b"\xff", b"\xc0")


def parsing(monkeypatch: pytest.MonkeyPatch, data: bytes, spans_lines: bool) -> Work:
    work = Work()
    monkeypatch.setattr(units, "bytearray", work.buffer_type(bytearray), raising=False)
    parser = Parser()
    parser.spans_lines = spans_lines
    parser.receive(data)
    for _ in parser:
        pass
    return work


def reading(data: bytes, qga_first: bool) -> tuple[Work, list[str]]:
    """Return the work of reading a line, and the errors that it is answered with."""
    work = Work()
    reader = LineReader(cast(Any, SimpleNamespace(native=NATIVE, qga=QGA)), qga_first)
    try:
        calls = reader.read(b"x")
    except NotLoadedError as missing:
        missing.load()
    calls = reader.read(work.buffer_type(bytes)(data))
    return work, [str(call.error) for call in calls]


@heads
@patterns
@pytest.mark.parametrize("spans_lines", [False, True])
def test_twice_the_bytes_are_twice_the_work_of_the_parser(
    monkeypatch: pytest.MonkeyPatch, head: bytes, pattern: bytes, spans_lines: bool
) -> None:
    size = 16 * 1024
    half, whole = (
        parsing(monkeypatch, head + pattern * (size * times // len(pattern)), spans_lines) for times in (1, 2)
    )
    assert whole.calls <= 2.1 * half.calls + 100
    assert whole.looked_at <= 2.1 * half.looked_at + 100_000


@pytest.mark.parametrize("tail", [b"\xfb\n", b"\xff", b"\n"], ids=repr)
def test_twice_the_objects_are_twice_the_work_whatever_follows(monkeypatch: pytest.MonkeyPatch, tail: bytes) -> None:
    half, whole = (parsing(monkeypatch, b"{}" * count + tail, False) for count in (10_000, 20_000))
    assert whole.calls <= 2.1 * half.calls + 100
    assert whole.looked_at <= 2.1 * half.looked_at + 100_000


@heads
@patterns
def test_a_long_line_costs_no_more_than_some_steps_for_each_byte(
    monkeypatch: pytest.MonkeyPatch, head: bytes, pattern: bytes
) -> None:
    line = head + on_one_line(pattern) * (SIZE // len(pattern))
    work = parsing(monkeypatch, line + b"\n", spans_lines=False)
    assert work.calls <= len(line) // 100
    assert work.looked_at <= 8 * len(line)


@heads
@patterns
def test_many_lines_cost_no_more_than_some_steps_for_each(
    monkeypatch: pytest.MonkeyPatch, head: bytes, pattern: bytes
) -> None:
    line = head + on_one_line(pattern) * (1000 // len(pattern)) + b"\n"
    count = SIZE // len(line)
    work = parsing(monkeypatch, line * count, spans_lines=False)
    assert work.calls <= 30 * count
    assert work.looked_at <= 8 * len(line) * count


@heads
@patterns
@pytest.mark.parametrize("qga_first", [False, True])
def test_a_line_that_is_no_request_is_refused_with_bounded_work(head: bytes, pattern: bytes, qga_first: bool) -> None:
    work, errors = reading(head + on_one_line(pattern) * (SIZE // len(pattern)), qga_first)
    assert work.calls <= 1_500_000
    assert work.looked_at <= 150 * SIZE
    assert len(errors) <= OBJECTS_MAX
    assert "None" not in errors


@pytest.mark.parametrize("qga_first", [False, True])
def test_a_line_holds_a_limited_number_of_objects(qga_first: bool) -> None:
    _, errors = reading(b"{} " * OBJECTS_MAX, qga_first)
    assert len(errors) == OBJECTS_MAX or (len(errors) == 1 and not qga_first)
    _, errors = reading(b"{}" * (OBJECTS_MAX + 1), qga_first)
    assert errors == [f"more than {OBJECTS_MAX} objects on one line"]


def test_several_requests_on_a_line_are_read_up_to_the_limit() -> None:
    ping = b'{"execute": "ping"}'
    assert reading(ping * OBJECTS_MAX, False)[1] == ["None"] * OBJECTS_MAX
    assert reading(ping * (OBJECTS_MAX + 1), False)[1] == [f"more than {OBJECTS_MAX} objects on one line"]


def test_a_line_of_too_many_strings_is_not_split() -> None:
    with pytest.raises(JsonError, match="more than 400000 brackets and quotes"):
        split_objects(b'{"a"' + b'"' * 400_000 + b"}")


def test_objects_without_newlines_are_units_without_a_limit() -> None:
    parser = Parser()
    parser.receive(b"{}" * (2 * OBJECTS_MAX))
    assert sum(isinstance(unit, Line) for unit in parser) == 2 * OBJECTS_MAX
