"""The manners of the QEMU Guest Agent's clients: what they send, and what they expect back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga import __version__
from phoenix_ga.agent.protocol.json_reader import ReadError, read_values
from tests.agent.qga import call
from tests.ends.client import LineClient
from tests.support import AgentProcess

PING = b'{"execute": "guest-ping"}'
DONE: dict[str, Any] = {"return": {}}


def generic(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"class": "GenericError", "desc": text}, **more}


def not_found(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"class": "CommandNotFound", "desc": text}, **more}


@pytest.fixture
def guest(client: LineClient) -> LineClient:
    """A client that has said once that it speaks to the QEMU Guest Agent."""
    client.send(PING)
    assert client.answer() == DONE
    return client


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (PING, [DONE]),
        (PING + PING + b" " + PING, [DONE] * 3),
        (PING + b"\r\n\n \n" + PING + b"\n", [DONE] * 2),
        (b"{'execute': 'guest-ping'}", [DONE]),
        (b'{"execute":\n  "guest-ping",\n  "arguments": {}\n}\n', [DONE]),
        (b"\xff\xff" + PING, [DONE]),
        (b'{"execute": "guest-pi\xff' + PING, [DONE]),
        (b'Foo {"execute": "guest-ping"}', [generic("JSON parse error, stray 'F'"), DONE]),
        (b"garbage\n" + PING, [generic("JSON parse error, invalid keyword 'garbage'"), DONE]),
        (b"{} " + PING, [generic("QMP input lacks member 'execute'"), DONE]),
        (b"[1]", [generic("QMP input must be a JSON object")]),
        (b'{"execute": 1}', [generic("QMP input member 'execute' must be a string")]),
        (b'{"execute": "guest-ping", "arguments": []}', [generic("QMP input member 'arguments' must be an object")]),
        (b'{"execute": "guest-ping", "foo": 1}', [generic("QMP input member 'foo' is unexpected")]),
        (b'{"execute": "guest-ping", "id": 1, "id": 2}', [generic("JSON parse error, duplicate key")]),
        (b'{"execute": "guest-ping", "arguments": {"a": 1}}', [generic("Parameter 'a' is unexpected")]),
        (b'{"execute": "guest-sync"}', [generic("Parameter 'id' is missing")]),
        (b'{"execute": "guest-nothing"}', [not_found("The command guest-nothing has not been found")]),
        (b'{"execute": "nothing", "id": 5}', [not_found("The command nothing has not been found", id=5)]),
        (b'{"execute": "guest-sync", "arguments": {"id": -9223372036854775808}}', [{"return": -(2**63)}]),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else "",
)
def test_what_is_sent_and_what_is_answered(guest: LineClient, sent: bytes, answers: list[dict[str, Any]]) -> None:
    guest.send(sent)
    assert [guest.answer() for _ in answers] == answers


@pytest.mark.parametrize("number", ["1.0", "9223372036854775808", '"1"', "null", "true", "1e2"])
def test_a_sync_takes_integers_only(guest: LineClient, number: str) -> None:
    guest.send(b'{"execute": "guest-sync", "arguments": {"id": %s}, "id": "x"}' % number.encode())
    assert guest.answer() == generic("Invalid parameter type for 'id', expected: integer", id="x")


@pytest.mark.parametrize("tag", ["null", "0", '""', '{"a": [1.5]}', '"\\u00e4"'])
def test_any_id_comes_back_with_the_answer_and_with_an_error(guest: LineClient, tag: str) -> None:
    guest.send(b'{"execute": "guest-ping", "id": %s} {"execute": "guest-x", "id": %s}' % ((tag.encode(),) * 2))
    assert guest.answer() == {"return": {}, "id": json.loads(tag)}
    assert guest.answer()["id"] == json.loads(tag)


def test_only_the_answer_to_a_delimited_sync_has_a_mark(guest: LineClient) -> None:
    guest.send(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 7}}\n' + PING + b"\n")
    assert guest.line() == b'\xff{"return": 7}\n'
    assert guest.line() == b'{"return": {}}\n'
    guest.send(b'{"execute": "guest-sync", "arguments": {"id": 7}}{"execute": "guest-sync-delimited"}')
    assert guest.line() == b'{"return": 7}\n'
    assert guest.line().startswith(b"{")


def test_a_delimited_sync_does_not_wait_for_what_its_client_ignores(guest: LineClient) -> None:
    handle = call(guest, "guest-file-open", path="/dev/zero")
    # Nobody reads the first answer, and the second one is as long.
    ask = b'{"execute": "guest-file-read", "arguments": {"handle": %d, "count": 40000000}}' % handle
    guest.send(ask * 2)
    time.sleep(0.5)
    guest.send(
        b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 77}}{"execute": "guest-ping", "id": 2}\n'
    )
    line = guest.line()
    # Of the first one, some was on its way.
    assert len(line) < 20_000_000
    assert json.loads(line.rpartition(b"\xff")[2]) == {"return": 77}
    assert guest.answer() == {"return": {}, "id": 2}


def test_what_is_answered_at_once_is_answered_before_a_delimited_sync_too(guest: LineClient) -> None:
    guest.send(b'{"execute": "guest-ping", "id": 1}{"execute": "guest-sync-delimited", "arguments": {"id": 7}}')
    assert guest.answer() == {"return": {}, "id": 1}
    assert guest.line() == b'\xff{"return": 7}\n'


def test_both_dialects_are_answered_each_in_its_own_words(client: LineClient) -> None:
    client.send(b'{"execute": "ping", "tag": 1}\n' + PING + b'\n{"execute": "ping"}\n')
    assert [client.answer() for _ in range(3)] == [{"return": __version__, "tag": 1}, DONE, {"return": __version__}]
    client.send(b"garbage\n")
    assert set(client.answer()["error"]) == {"bufb64", "code"}
    client.send(PING + b"garbage\n")
    assert client.answer() == DONE
    assert set(client.answer()["error"]) == {"class", "desc"}
    client.send(b'\xff{"execute": "sync", "arguments": {"id": 3}, "tag": 2}\n')
    assert client.line() == b'\xff{"return": 3, "tag": 2}\n'


def test_info_has_exactly_three_members_for_each_command(guest: LineClient) -> None:
    guest.send(b'{"execute": "guest-info"}')
    info = guest.answer()["return"]
    assert set(info) == {"version", "supported_commands"}
    assert {"name": "guest-ping", "enabled": True, "success-response": True} in info["supported_commands"]
    assert all(set(entry) == {"name", "enabled", "success-response"} for entry in info["supported_commands"])


def test_answers_keep_their_order_whatever_ids_they_have(guest: LineClient, tmp_path: Path) -> None:
    path = str(tmp_path / "big")
    Path(path).write_bytes(bytes(1_000_000))
    slow = json.dumps({"execute": "get-file-md5sum", "arguments": {"path": path}}).encode()
    guest.send(slow + b'{"execute": "guest-ping", "id": 1}' + slow + b'{"execute": "guest-ping", "id": 2}')
    answers = [guest.answer() for _ in range(4)]
    assert [answer.get("id") for answer in answers] == [None, 1, None, 2]


def test_what_a_policy_forbids_in_one_dialect_it_forbids_in_the_other(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--block", "ping") as agent, agent.connect() as client:
        client.send(PING)
        expected = "Command guest-ping has been disabled: the command is not allowed"
        assert client.answer() == not_found(expected)
        client.send(b'{"execute": "guest-info"}')
        entries = {entry["name"]: entry["enabled"] for entry in client.answer()["return"]["supported_commands"]}
        assert entries["guest-ping"] is False
        assert entries["guest-sync"] is True
        client.send(b'{"execute": "guest-sync", "arguments": {"id": 1}}')
        assert client.answer() == {"return": 1}


def test_bytes_that_come_one_at_a_time_are_answered_as_soon_as_the_object_ends(guest: LineClient) -> None:
    for byte in PING:
        guest.send(bytes([byte]))
        time.sleep(0.001)
    assert guest.answer() == DONE


def test_many_clients_may_speak_both_dialects_at_once(agent: AgentProcess) -> None:
    failures: list[Exception] = []

    def talk(request: bytes, expected: object) -> None:
        try:
            with agent.connect() as client:
                for _ in range(200):
                    client.send(request)
                    assert client.answer()["return"] == expected
        except Exception as error:
            failures.append(error)

    requests: list[tuple[bytes, object]] = [(PING, {}), (b'{"execute": "ping"}\n', __version__)]
    threads = [threading.Thread(target=talk, args=request) for request in requests * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# QEMU takes neither NUL nor what is no character.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffe\uffff"), max_size=9)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)


@given(plain, st.booleans())
def test_the_tolerant_reader_reads_plain_json_as_any_other(value: object, in_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=in_ascii).encode("utf-8", "surrogatepass")
    if b"\x7f" not in text:
        assert list(read_values(text)) == [json.loads(text)]


@given(st.binary(max_size=60))
def test_the_tolerant_reader_takes_any_bytes(data: bytes) -> None:
    for value in read_values(data.replace(b"\n", b"")):
        if isinstance(value, ReadError):
            assert str(value).startswith("JSON parse error, ")


def test_a_long_string_in_single_quotes_is_read_in_time_that_grows_with_it() -> None:
    text = b"'" + b"\\\\" * 300_000 + b"A" * 3_000_000 + b"'"
    (value,) = read_values(text)
    assert len(value) == 3_300_000


def test_a_line_of_endless_tokens_is_given_up() -> None:
    values = list(read_values(b"{" + b"'a':1," * 100_000))
    assert str(values[-1]) == "JSON parse error, token count limit exceeded"
