"""Lines to calls: quick ways are taken where they lead to the same call, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.protocol.dispatch import Call
from phoenix_ga.agent.protocol.lines import LineReader
from phoenix_ga.agent.protocol.long_requests import LONG, decode_long_request
from phoenix_ga.wire import messages
from phoenix_ga.wire.json_text import JsonError, decode_json

LONG_TEXT = base64.b64encode(os.urandom(LONG)).decode("ascii")


@pytest.fixture
def reader() -> LineReader:
    return LineReader(lambda: QGA, qga_first=False)


def bound(reader: LineReader, line: bytes) -> Call:
    """Read a line, and bind its call as the dispatcher does."""
    call = reader.read_plain(line)
    assert call is not None
    assert call.request is not None
    if call.command is None:
        call.command = call.dialect.find(call.request)
        call.bound = call.command.bind(call.request.arguments)
    return call


def test_a_line_that_is_said_again_is_the_same_call_but_not_the_same_object(reader: LineReader) -> None:
    line = b'{"execute": "guest-file-read", "arguments": {"handle": 1000, "count": 49152}, "id": 7}'
    first, second = bound(reader, line), reader.read_plain(line)
    assert second is not None
    assert second is not first
    assert (second.command, second.bound, second.tag, second.dialect, second.size) == (
        first.command,
        {"handle": 1000, "count": 49152},
        7,
        QGA,
        len(line),
    )
    assert second.first is None


def test_a_line_that_is_said_again_brings_its_dialect_back(reader: LineReader) -> None:
    ping, guest_ping = b'{"execute": "ping"}', b'{"execute": "guest-ping"}'
    bound(reader, ping)
    # Not plain, so that it takes another way.
    assert reader.read(b"{'execute': 'guest-ping'}")[0].dialect is QGA
    assert bound(reader, ping).dialect is NATIVE
    assert not reader.spans_lines
    assert bound(reader, guest_ping).dialect is QGA
    assert reader.spans_lines


def test_a_command_that_may_keep_its_arguments_is_read_anew(reader: LineReader) -> None:
    line = b'{"execute": "exec", "arguments": {"argv": ["true"]}}'
    first = bound(reader, line)
    again = reader.read_plain(line)
    assert again is not None
    assert again.command is None
    assert again.request is not first.request


def test_a_line_that_was_refused_is_read_anew(reader: LineReader) -> None:
    line = b'{"execute": "no-such-command"}'
    for _ in range(2):
        call = reader.read_plain(line)
        assert call is not None
        assert call.command is None


def write_request(text: str, **others: Any) -> bytes:
    return json.dumps({"execute": "file-write", "arguments": {"handle_id": 5, "bufb64": text, **others}}).encode()


def test_a_long_argument_in_base64_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    line = write_request(LONG_TEXT, eof=True)
    message = decode_long_request(line)
    assert message == decode_json(line)
    monkeypatch.setattr(messages, "a2b_base64", None)
    assert messages.decode_plain_base64(message["arguments"]["bufb64"]) == base64.b64decode(LONG_TEXT)


def test_an_equal_text_that_is_another_object_is_decoded_for_itself() -> None:
    message = decode_long_request(write_request(LONG_TEXT))
    assert message is not None
    assert messages.decode_plain_base64(LONG_TEXT) == base64.b64decode(LONG_TEXT)
    assert messages.decode_plain_base64(LONG_TEXT[:-4] + "!!!!") is None


def test_no_more_than_a_few_texts_are_kept() -> None:
    requests = [decode_long_request(write_request(LONG_TEXT)) for _ in range(50)]
    assert len(messages._decoded) <= messages._DECODED_MAX
    for message in requests:
        assert message is not None
        assert messages.decode_plain_base64(message["arguments"]["bufb64"]) == base64.b64decode(LONG_TEXT)


STRANGE = {
    "an escape": LONG_TEXT[:100] + "\\n" + LONG_TEXT[100:],
    "an escaped quote": LONG_TEXT[:100] + '\\"' + LONG_TEXT[100:],
    "a control character": LONG_TEXT[:100] + "\t" + LONG_TEXT[100:],
    "no base64": LONG_TEXT[:100] + "-___" + LONG_TEXT[100:],
    "letters beyond ASCII": LONG_TEXT[:100] + "é" * 4 + LONG_TEXT[100:],
    "a piece missing": LONG_TEXT[:-1],
    "padding in the middle": LONG_TEXT[:100] + "A===" + LONG_TEXT[100:],
    "nothing long": "QUJD",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_all_else_is_left_to_the_parser(text: str) -> None:
    assert decode_long_request(b'{"execute": "x", "arguments": {"a": "%s"}}' % text.encode()) is None


@pytest.mark.parametrize(
    "form",
    [
        '["LONG"]',
        '{"LONG": 1}',
        '{"arguments": "LONG"}',
        '{"arguments": ["LONG"]}',
        '{"arguments": {"LONG": 1}}',
        '{"arguments": {"a": ["LONG"]}}',
        '{"arguments": {"a": "<long>", "b": "LONG"}}',
        '{"arguments": {"a": "LONG", "b": "<long>"}}',
        '{"id": "LONG", "arguments": {"a": "<long>"}}',
        '{"id": "LONG", "arguments": {"a": "\\u003clong>"}}',
        '{"arguments": {"LONG": 1, "a": "<long>"}}',
        '{"arguments": {"LONG": 1, "a": "\\u003clong>"}}',
        '{"arguments": {"a": "x\\"LONG"}}',
        '{"arguments": {"a": "LONG", "a": "LONG"}}',
        '{"arguments": {"a": "LONG"',
        '{"arguments": {"a": "LONG"}} {}',
        '{"arguments": {"a": "LONG}}',
    ],
)
def test_a_long_text_in_another_place_is_left_to_the_parser(form: str) -> None:
    assert decode_long_request(form.replace("LONG", LONG_TEXT).encode()) is None


def test_of_two_long_texts_one_is_decoded_and_both_are_there() -> None:
    line = write_request(LONG_TEXT, other=LONG_TEXT)
    assert decode_long_request(line) == decode_json(line)


PARTS = st.sampled_from(
    [
        "LONG",
        "LONG",
        "<long>",
        '"',
        '"',
        ":",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\\",
        " ",
        "a",
        '"a": ',
        '{"arguments": {',
        "1",
    ]
)


@given(st.lists(PARTS, max_size=20).map("".join))
def test_what_is_decoded_is_what_the_parser_makes_of_it(form: str) -> None:
    line = form.replace("LONG", LONG_TEXT).encode()
    message = decode_long_request(line)
    if message is not None:
        try:
            assert message == decode_json(line)
        except JsonError as error:
            pytest.fail(f"the parser refuses it: {error}")
