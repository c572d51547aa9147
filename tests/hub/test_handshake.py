"""The hub's handshake, with agents of both dialects and answers to earlier requests."""

from __future__ import annotations

import json

from phoenix_ga.hub.handshake import BothHandshakes


def answers(request: bytes, native: bool) -> bytes:
    """Return what an agent answers to the bytes of a request."""
    output = b""
    for line in request.split(b"\n"):
        text = line.strip(b"\xff")
        if not text:
            continue
        message = json.loads(text)
        number = message["arguments"]["id"]
        if message["execute"] == "guest-sync-delimited":
            output += b'\xff{"return": %d}\n' % number
        elif native:
            output += b'\xff{"return": %d, "tag": "%s"}\n' % (number, message["tag"].encode())
        else:
            output += b'{"error": {"class": "GenericError", "desc": "QMP input member \'tag\' is unexpected"}}\n'
    return output


def test_an_agent_of_ours_is_recognized() -> None:
    handshake = BothHandshakes()
    assert handshake.receive(answers(handshake.request(), native=True) + b"rest") == b"rest"
    assert handshake.native


def test_an_agent_that_speaks_only_the_qemu_dialect_is_recognized() -> None:
    handshake = BothHandshakes()
    assert handshake.receive(answers(handshake.request(), native=False) + b"rest") == b"rest"
    assert not handshake.native


def test_answers_may_come_in_any_pieces_and_after_those_for_others() -> None:
    for native in (True, False):
        handshake = BothHandshakes()
        data = b'{"return": 1}\n\xff{"return": 2}\nhalf a li' + answers(handshake.request(), native)
        results = [handshake.receive(data[place : place + 1]) for place in range(len(data))]
        assert results == [*[None] * (len(data) - 1), b""]
        assert handshake.native is native


def test_no_answer_to_an_earlier_request_is_left() -> None:
    for native in (True, False):
        handshake = BothHandshakes()
        first, second = handshake.request(), handshake.request()
        assert handshake.receive(answers(first, native)) is None
        assert handshake.receive(answers(second, native)) == b""
