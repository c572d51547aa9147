"""A guest may send anything: every answer is checked, and nothing grows without a limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ga.client import MockTransport, PhoenixError, ProtocolError, connect, connect_sync
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.frames import DATA, encode_header
from phoenix_ga.wire.messages import Request
from tests.client.conftest import Talk

STATUS: dict[str, Any] = BY_NAME["file-stat"].examples[0].answer

WRONG_ANSWERS: list[tuple[str, str, Any, tuple[Any, ...]]] = [
    ("ping", "ping", 1, ()),
    ("get-commands", "commands", ["ping", 1], ()),
    ("get-commands", "commands", {"ping": 1}, ()),
    ("get-freeze-status", "filesystems.status", {"frozen": 1, "remaining": 1, "ended": ""}, ()),
    ("get-freeze-status", "filesystems.status", True, ()),
    ("fs-freeze", "filesystems.freeze", False, ()),
    ("file-open", "files.open_handle", 1.0, ("/x",)),
    ("file-open", "files.open_handle", 10**30, ("/x",)),
    ("file-read", "files.read_handle", {"bufb64": "%%%%", "eof": False}, (1,)),
    ("file-read", "files.read_handle", {"bufb64": "aGk="}, (1,)),
    ("file-read", "files.read_handle", {"bufb64": "aGk=", "eof": "no"}, (1,)),
    ("file-stat", "files.stat", {**STATUS, "isdir": 0}, ("/x",)),
    ("file-stat", "files.stat", {**STATUS, "stat": {**STATUS["stat"], "Size": "big"}}, ("/x",)),
    ("file-stat", "files.stat", {**STATUS, "stat": []}, ("/x",)),
    ("directory-list", "files.list", [STATUS, None], ("/x",)),
    ("sysinfo", "sysinfo", {}, ()),
    ("metrics", "metrics", {}, ()),
    ("get-netifaces", "network.interfaces", [{"index": 1}], ()),
    ("get-route-list", "network.routes", [{"dst": "default"}], ()),
]


@pytest.mark.parametrize(
    ("command", "method", "answer", "arguments"), [case for case in WRONG_ANSWERS if case[0] != "sync"]
)
def test_answers_of_a_wrong_shape(
    talk: Talk, command: str, method: str, answer: Any, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ProtocolError) as caught:
        talk(MockTransport({command: answer}), method, *arguments)
    assert caught.value.request is not None
    assert caught.value.request.execute == command
    assert not caught.value.fatal


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON at all\n",
        b"[1, 2]\n",
        b'{"neither": 1}\n',
        b'{"return": 1, "return": 2}\n',
        b"[" * 200_000 + b"\n",
        b'{"return": [' + b"[]," * 2_600_000 + b"1]}\n",
        b'{"return": ' + b"9" * 100_000 + b"}\n",
        b'{"return": 1e999}\n',
        b"\xc3\x28\n",
        b'{"error": {"bufb64": "aGk=", "code": 90}}\n',
        b"\xfb" + b"\0" * 20 + b"\n",
        encode_header(DATA, 1, 3) + b"abc",
        b"x" * 70_000,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_lines_that_are_no_answers_end_the_conversation_with_a_clear_error(talk: Talk, line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        talk(MockTransport({"ping": line}), "ping", options={"line_limit": 50_000 if line[:1] == b"x" else 2**26})
    assert caught.value.fatal
    assert caught.value.request is not None


@pytest.mark.parametrize(
    "error", [b"1", b"{}", b'{"bufb64": "aGk="}', b'{"bufb64": "a", "code": 1}', b'{"bufb64": "aGk=", "code": true}']
)
def test_an_error_answer_of_a_wrong_form_meets_only_its_own_call(error: bytes) -> None:
    def answer(request: Request) -> bytes:
        return b'{"error": %s, "tag": "%s"}\n' % (error, request.tag.encode())

    with connect_sync(MockTransport({"ping": answer, "get-commands": []})) as guest:
        with pytest.raises(ProtocolError):
            guest.ping()
        assert guest.commands() == ()


@pytest.mark.parametrize(
    "tag", [b'"unknown"', b"1", b"[]", b"{}", b"null", b'""', b"true", b'"x' + b"y" * 1000 + b'"']
)
def test_answers_with_unknown_tags_are_ignored(talk: Talk, tag: bytes) -> None:
    def answer(request: Request) -> bytes:
        return b'{"return": "wrong", "tag": %s}\n{"return": "1.0", "tag": "%s"}\n' % (tag, request.tag.encode())

    assert talk(MockTransport({"ping": answer}), "ping") == "1.0"


def test_the_first_of_two_answers_counts() -> None:
    def answer(request: Request) -> bytes:
        line = b'{"return": "%%s", "tag": "%s"}\n' % request.tag.encode()
        return line % b"first" + line % b"second"

    with connect_sync(MockTransport({"ping": answer})) as guest:
        assert [guest.ping(), guest.ping()] == ["first", "first"]


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=300))
def test_whatever_bytes_come_a_call_ends_with_an_answer_or_an_error_of_ours(noise: bytes) -> None:
    async def conversation() -> None:
        async with connect(MockTransport({"ping": noise}), timeout=0.01) as guest:
            try:
                await guest.ping()
            except PhoenixError:
                pass
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())
