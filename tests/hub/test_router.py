"""Where requests, answers and frames go, without sockets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ga.client.errors import ConnectionLostError
from phoenix_ga.hub.messages import ClientRequest
from phoenix_ga.hub.router import Call, Client, Router
from phoenix_ga.wire.streams import LINK_LOST, UNKNOWN_STREAM
from phoenix_ga.wire.units import RESET_BYTE, Frame, Line, Parser
from tests.ends.client import DATA, END, RESET, WINDOW, encode_frame


class Desk:
    """The end of a client: what it was sent."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False
        self.resumed = 0

    def send(self, *pieces: bytes | memoryview) -> None:
        assert not self.closed
        for piece in pieces:
            self.data += piece

    def close(self) -> None:
        self.closed = True

    def go_on(self) -> None:
        self.resumed += 1

    def answers(self) -> list[dict[str, Any]]:
        """Return the lines since the last call."""
        return [json.loads(unit.data) for unit in self.units() if isinstance(unit, Line)]

    def units(self) -> list[Any]:
        parser = Parser(lines_only=True)
        parser.receive(bytes(self.data).replace(RESET_BYTE + b"{", b"{"))
        self.data.clear()
        return [Frame(u.type, u.stream, bytes(u.payload)) if isinstance(u, Frame) else u for u in parser]


class Guest:
    """The end of the guest: the requests and frames that have arrived."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.frames: list[bytes] = []
        self.others: list[dict[str, Any]] = []

    def send(self, line: bytes, first: bool) -> None:
        self.lines.append(json.loads(line))

    def send_frame(self, client: Client, *pieces: bytes | memoryview) -> None:
        self.frames.append(b"".join(pieces))

    def receive_other(self, message: dict[str, Any]) -> None:
        self.others.append(message)

    def take(self) -> dict[str, Any]:
        return self.lines.pop(0)


class Observer:
    """Refuses what is in `refused`."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.records: list[tuple[str, str]] = []

    def refusal(self, client: Client, request: ClientRequest) -> str:
        return "no" if request.execute in self.refused else ""

    def begun(self, call: Call) -> None:
        pass

    def ended(self, call: Call, error: str) -> None:
        self.records.append((call.request.execute, error))


class World:
    """A router with a guest that is connected."""

    def __init__(self, native: bool = True) -> None:
        self.guest = Guest()
        self.observer = Observer()
        self.wanted = 0
        self.router = Router(self.guest, self.observer, self._want)
        self.router.up(native)

    def _want(self) -> None:
        self.wanted += 1

    def client(self) -> tuple[Client, Desk]:
        desk = Desk()
        return self.router.attach(desk, "user"), desk

    def ask(self, client: Client, execute: str, tag: Any = None, is_qemu: bool = False, **arguments: Any) -> None:
        message: dict[str, Any] = {"execute": execute, "arguments": arguments}
        if tag is not None:
            message["id" if is_qemu else "tag"] = tag
        self.router.receive(client, json.dumps(message).encode() + b"\n")

    def answer(self, request: dict[str, Any], **answer: Any) -> None:
        name = "id" if "id" in request else "tag"
        self.send_line(json.dumps({**answer, name: request[name]}).encode())

    def send_line(self, line: bytes) -> None:
        self.router.receive_from_guest(line + b"\n")

    def frame(self, type: int, stream: int, payload: bytes = b"") -> None:
        self.router.receive_from_guest(encode_frame(type, stream, payload))

    def open_stream(self, number: int, **arguments: Any) -> tuple[Client, Desk]:
        """Return a client with the stream of a program."""
        client, desk = self.client()
        self.ask(client, "exec", 1, argv=["cat"], **arguments)
        self.answer(self.guest.take(), **{"return": {"pid": 1, "stream": number, "window": 1000}})
        assert len(desk.answers()) == 1
        return client, desk


def test_two_clients_with_the_same_tag_each_get_their_answer() -> None:
    world = World()
    (one, at_one), (two, at_two) = world.client(), world.client()
    world.ask(one, "file-stat", "x", path="/1")
    world.ask(two, "file-stat", "x", path="/2")
    first, second = world.guest.lines
    assert first["tag"] != second["tag"]
    world.answer(second, **{"return": 2})
    world.answer(first, **{"return": 1})
    assert at_one.answers() == [{"return": 1, "tag": "x"}]
    assert at_two.answers() == [{"return": 2, "tag": "x"}]


def test_requests_without_a_tag_are_sent_one_by_one() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "file-stat", path="/1")
    world.ask(client, "file-stat", path="/2")
    assert len(world.guest.lines) == 1
    world.answer(world.guest.take(), **{"return": 1})
    world.answer(world.guest.take(), **{"return": 2})
    assert desk.answers() == [{"return": 1}, {"return": 2}]


def test_requests_that_differ_in_their_tag_only_each_get_their_answer() -> None:
    world = World()
    client, desk = world.client()
    tags = [1, 2, 17, "a-1", "b", 0, "", "a b", 'q"', None, [1], {"tag": 5}, 2.5, "\u00e9", '", "tag": 6', -3]
    for number, tag in enumerate(tags):
        world.router.receive(client, json.dumps({"execute": "ping", "tag": tag}).encode() + b"\n")
        world.answer(world.guest.take(), **{"return": number})
    assert desk.answers() == [{"return": number, "tag": tag} for number, tag in enumerate(tags)]
    world.router.receive(client, b'{"execute": "ping"}\n')
    world.answer(world.guest.take(), **{"return": "x"})
    assert desk.answers() == [{"return": "x"}]


def test_the_text_of_an_answer_is_passed_on_as_it_is() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "file-stat", "a", path="/")
    tag = world.guest.take()["tag"].encode()
    world.send_line(b'{"return": {"a":  1.50, "tag": "b"}, "tag": "' + tag + b'"}')
    assert desk.data == b'{"return": {"a":  1.50, "tag": "b"}, "tag": "a"}\n'


def test_an_answer_to_another_connection_is_not_for_a_client() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "ping", "a")
    world.send_line(b'{"return": 1, "tag": "hub-00000000-1"}')
    world.send_line(b'{"return": 1, "tag": "\\ud800"}')
    assert not desk.data
    assert [message["tag"] for message in world.guest.others] == ["hub-00000000-1", "\ud800"]


def test_a_client_is_full_until_enough_is_answered() -> None:
    world = World()
    client, desk = world.client()
    client.is_stopped = True
    world.ask(client, "ping", 0)
    for number in range(1, 20_000):
        world.router.receive(client, b'{"execute": "ping", "tag": %d}\n' % number)
    was_full = []
    while world.guest.lines:
        was_full.append((client.is_full, desk.resumed > 0))
        world.answer(world.guest.take(), **{"return": 1})
    assert was_full[0] == (True, False)
    assert was_full[-1] == (False, True)
    assert (True, True) not in was_full
    assert client.unanswered == 0


def test_whoever_may_not_use_a_command_any_more_is_refused_it() -> None:
    world = World()
    (one, at_one), (two, _) = world.client(), world.client()
    for client in (one, two):
        world.ask(client, "ping", 1)
        world.answer(world.guest.take(), **{"return": 1})
    at_one.answers()
    world.observer.refused = {"ping"}
    world.router.decide_again(lambda user: True)
    world.ask(one, "ping", 2)
    assert not world.guest.lines
    assert "error" in at_one.answers()[0]


def test_a_request_that_looks_like_an_earlier_one_is_read_all_the_same() -> None:
    world = World()
    world.observer.refused = {"exec"}
    client, desk = world.client()
    world.router.receive(client, b'{"execute": "ping", "tag": 1}\n')
    world.router.receive(client, b'{"execute": "ping", "tag": "x", "execute": "exec"}\n')
    world.router.receive(client, b'{"execute": "ping", "tag": 1}{"execute": "exec", "tag": 2}\n')
    world.router.receive(client, b'{"execute": "ping", "tag": 1}\n{"execute": "exec", "tag": 2}\n')
    world.router.receive(client, b'{"execute": "ping", "tag": 1')
    world.router.receive(client, b'{"execute": "ping", "tag": 1}\n')
    assert {line["execute"] for line in world.guest.lines} == {"ping"}
    assert len(world.guest.lines) == 3
    assert [answer["error"]["code"] for answer in desk.answers()] == [-1, 1, 1, -1]


def test_freezing_and_thawing_pass_requests_that_are_stuck() -> None:
    world = World()
    client, _ = world.client()
    for number in range(50):
        world.ask(client, "file-stat", number, path="/stuck")
    stuck = len(world.guest.lines)
    assert stuck < 50
    world.ask(client, "fs-unfreeze", "thaw")
    assert world.guest.lines[stuck]["execute"] == "fs-unfreeze"


@pytest.mark.parametrize("leaves", [True, False])
def test_a_freeze_whose_client_leaves_or_begins_anew_is_called_off(leaves: bool) -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "fs-freeze", "f")
    world.ask(client, "fs-freeze")
    freeze, waiting = world.guest.take(), world.guest.take()
    if leaves:
        world.router.detach(client)
    else:
        world.ask(client, "sync", "s", id=1)
        assert desk.answers() == [{"return": 1, "tag": "s"}]
    stops = [world.guest.take(), world.guest.take()]
    assert [stop["execute"] for stop in stops] == ["fs-unfreeze"] * 2
    assert {stop["arguments"]["request"] for stop in stops} == {freeze["tag"], waiting["tag"]}
    for request in stops:
        world.answer(request, **{"return": True})
    for request in (freeze, waiting):
        world.answer(request, error={"bufb64": "", "code": 125})
    assert not world.guest.lines
    assert not desk.data
    assert not world.router.owes


@pytest.mark.parametrize(
    ("name", "frozen", "is_native", "thaw"),
    [
        ("fs-freeze", True, True, ("fs-unfreeze", {})),
        ("fs-freeze", {"generation": "5f"}, True, ("fs-unfreeze", {"generation": "5f"})),
        ("fs-freeze", {"generation": ""}, True, None),
        ("fs-freeze", {"generation": 7}, True, None),
        ("guest-fsfreeze-freeze", 2, True, ("fs-unfreeze", {})),
        ("guest-fsfreeze-freeze-list", 1, False, ("guest-fsfreeze-thaw", {})),
        ("guest-fsfreeze-freeze", 0, False, None),
    ],
)
def test_what_was_frozen_for_a_client_that_has_left_meanwhile_is_thawed(
    name: str, frozen: Any, is_native: bool, thaw: tuple[str, dict[str, Any]] | None
) -> None:
    world = World(native=is_native)
    client, _ = world.client()
    world.ask(client, name, 1, is_qemu=name.startswith("guest-"))
    freeze = world.guest.take()
    world.router.detach(client)
    world.guest.lines.clear()
    world.answer(freeze, **{"return": frozen})
    sent = [(line["execute"], line.get("arguments", {})) for line in world.guest.lines]
    assert sent == ([] if thaw is None else [thaw])


def test_a_freeze_that_was_answered_stays_when_its_client_leaves() -> None:
    world = World()
    client, _ = world.client()
    world.ask(client, "fs-freeze", 1)
    world.answer(world.guest.take(), **{"return": True})
    world.router.detach(client)
    assert not world.guest.lines


def test_requests_of_the_qemu_dialect_take_turns() -> None:
    world = World()
    (one, at_one), (two, at_two) = world.client(), world.client()
    world.ask(one, "guest-get-osinfo", 1, is_qemu=True)
    world.ask(two, "guest-get-osinfo", 2, is_qemu=True)
    assert len(world.guest.lines) == 1
    world.router.detach(one)
    world.answer(world.guest.take(), **{"return": {}})
    assert not at_one.data
    world.answer(world.guest.take(), **{"return": {}})
    assert at_two.answers() == [{"return": {}, "id": 2}]


def test_a_command_whose_success_is_not_answered_holds_up_nobody() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "guest-shutdown", 1, is_qemu=True)
    assert not world.router.owes
    world.ask(client, "guest-ping", 2, is_qemu=True)
    shutdown, ping = world.guest.take(), world.guest.take()
    world.answer(shutdown, error={"class": "GenericError", "desc": "no"})
    world.answer(ping, **{"return": {}})
    assert [answer["id"] for answer in desk.answers()] == [1, 2]
    world.ask(client, "guest-shutdown", 3, is_qemu=True)
    world.ask(client, "guest-ping", 4, is_qemu=True)
    world.answer(world.guest.lines.pop(), **{"return": {}})
    assert [answer["id"] for answer in desk.answers()] == [4]
    assert world.observer.records[-2:] == [("guest-shutdown", ""), ("guest-ping", "")]


def test_an_agent_that_speaks_only_the_qemu_dialect_may_answer_without_an_id() -> None:
    world = World(native=False)
    client, desk = world.client()
    world.ask(client, "guest-nonsense", 1, is_qemu=True)
    world.send_line(b'{"error": {"class": "CommandNotFound", "desc": "none"}}')
    world.ask(client, "ping", 2)
    found, ping = desk.answers()
    assert (found["id"], found["error"]["class"]) == (1, "CommandNotFound")
    assert ping["tag"] == 2
    assert ping["error"]["code"] == 95


def test_sync_is_answered_without_the_guest_and_silences_what_was_asked_before() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "file-stat", 1, path="/slow")
    world.ask(client, "sync", "s", id=7)
    world.ask(client, "get-session", "g")
    world.answer(world.guest.take(), **{"return": "late"})
    assert desk.answers() == [{"return": 7, "tag": "s"}, {"return": 7, "tag": "g"}]


def test_guest_sync_delimited_is_marked() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "guest-sync-delimited", id=7)
    assert desk.data == b'\xff{"return": 7}\n'


def test_sync_waits_until_the_guest_is_connected() -> None:
    world = World()
    world.router.down("away")
    client, desk = world.client()
    world.ask(client, "sync", "s", id=7)
    assert world.wanted
    assert not desk.data
    world.router.up(native=True)
    assert desk.answers() == [{"return": 7, "tag": "s"}]


def test_a_client_that_waits_for_the_guest_is_told_that_it_may_go_on() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "sync", "s", id=7)
    world.router.down("away")
    world.ask(client, "file-stat", 1, path="/")
    world.ask(client, "get-session", "g")
    assert desk.answers() == [{"return": 7, "tag": "s"}, {"return": 7, "tag": "g"}]
    world.router.up(native=True)
    assert world.guest.take()["execute"] == "file-stat"


def test_a_client_cannot_send_on_the_stream_of_another() -> None:
    world = World()
    world.open_stream(5)
    thief, desk = world.client()
    for type in (DATA, WINDOW, END):
        world.router.receive(thief, encode_frame(type, 5, b"\0\0\0\1"))
        (reset,) = desk.units()
        assert (reset.type, json.loads(reset.payload)["code"]) == (RESET, UNKNOWN_STREAM)
    world.router.receive(thief, encode_frame(RESET, 5))
    assert not desk.data
    assert not world.guest.frames


def test_the_streams_of_a_client_that_leaves_are_reset() -> None:
    world = World()
    one, _ = world.open_stream(5)
    _, at_two = world.open_stream(6)
    world.router.detach(one)
    assert world.guest.frames[0][:2] == bytes((0xFB, RESET))
    world.frame(DATA, 6, b"mine")
    world.frame(DATA, 5, b"nobody's")
    assert [bytes(frame.payload) for frame in at_two.units()] == [b"mine"]


def test_a_stream_that_opens_after_its_client_has_left_is_reset() -> None:
    world = World()
    client, _ = world.client()
    world.ask(client, "exec", 1, argv=["cat"])
    world.router.detach(client)
    world.answer(world.guest.take(), **{"return": {"stream": 5, "stderr": 6, "window": 10}})
    assert len(world.guest.frames) == 2
    assert not world.router.owes


def test_a_guest_that_sends_more_than_its_credit_is_stopped() -> None:
    world = World()
    _, desk = world.open_stream(5, window=10)
    world.frame(DATA, 5, b"0123456789")
    world.frame(DATA, 5, b"x")
    data, reset = desk.units()
    assert (data.type, reset.type) == (DATA, RESET)
    assert not world.router.owes


def test_credit_is_passed_on() -> None:
    world = World()
    client, desk = world.open_stream(5, window=10)
    world.frame(DATA, 5, b"0123456789")
    world.router.receive(client, encode_frame(WINDOW, 5, b"\0\0\0\1"))
    world.frame(DATA, 5, b"x")
    assert [frame.type for frame in desk.units()] == [DATA, DATA]
    assert world.guest.frames == [encode_frame(WINDOW, 5, b"\0\0\0\1")]


def test_announced_streams_belong_to_the_client_that_listens() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "listen", 1, port=80)
    world.answer(world.guest.take(), **{"return": {"stream": 5, "host": "::", "port": 80}})
    world.frame(DATA, 5, b'{"stream": 6, "window": 10}\n{"stream"')
    world.frame(DATA, 5, b': 7, "window": 10}\n')
    world.frame(DATA, 7, b"hello")
    assert len(desk.units()) == 4
    world.router.receive(client, encode_frame(DATA, 6, b"x"))
    assert world.guest.frames == [encode_frame(DATA, 6, b"x")]


def test_a_lost_guest_is_told_to_all_and_later_requests_wait() -> None:
    world = World()
    client, desk = world.open_stream(5)
    world.ask(client, "file-stat", 2, path="/")
    world.router.down("gone")
    reset, answer = desk.units()
    assert json.loads(reset.payload)["code"] == LINK_LOST
    assert json.loads(answer.data)["error"]["code"] == LINK_LOST
    world.guest.lines.clear()
    world.ask(client, "ping", 3)
    assert not world.guest.lines
    world.router.up(native=True)
    assert world.guest.take()["execute"] == "ping"


def test_a_refused_request_does_not_reach_the_guest() -> None:
    world = World()
    world.observer.refused = {"exec", "guest-exec"}
    client, desk = world.client()
    world.router.receive(
        client,
        b'{"execute": "exec", "arguments": {"argv": ["id"]}, "tag": 1}'
        b'{"execute": "exec", "tag": 2} {"execute": "guest-exec", "id": 3}\n'
        b'{"arguments": {"argv": ["id"]}, "execute": "\\u0065xec", "tag": 4}\n'
        b'{"execute": "ping", "execute": "exec", "tag": 5}\n',
    )
    assert not world.guest.lines
    assert len(desk.answers()) == 5


@pytest.mark.parametrize(
    "line",
    [b"[]", b"nonsense", b'{"return": {}', b"7", b'{"return": 1, "tag": 1, "tag": 2}'],
)
def test_a_guest_that_sends_nonsense_is_given_up(line: bytes) -> None:
    with pytest.raises(ConnectionLostError):
        World().send_line(line)


@pytest.mark.parametrize(
    "value", [7, {}, {"stream": 5}, {"stream": 2**32}, {"stream": "6"}, {"stream": 6, "stderr": 6}]
)
def test_a_guest_that_opens_invalid_streams_opens_none(value: Any) -> None:
    world = World()
    world.open_stream(5)
    client, desk = world.client()
    world.ask(client, "exec", 1, argv=["cat"])
    world.answer(world.guest.take(), **{"return": value})
    assert desk.answers()[0]["error"]["code"] == 71
    assert world.router.stream_count(client) == 0


def test_half_a_connection_gets_all_answers_before_it_is_closed() -> None:
    world = World()
    client, desk = world.client()
    world.ask(client, "file-stat", 1, path="/")
    world.router.finish(client)
    closed_early = desk.closed
    world.answer(world.guest.take(), **{"return": 1})
    assert (closed_early, desk.closed) == (False, True)
    assert desk.answers() == [{"return": 1, "tag": 1}]


def _mixed(world: World, randomness: random.Random, count: int) -> Iterator[None]:
    """Let clients come, ask, leave and sync at random, and answer at random: each gets only its own answers, once."""
    clients: dict[Client, tuple[Desk, dict[Any, int]]] = {}
    asked = 0
    while asked < count or world.guest.lines:
        deed = randomness.random()
        if deed < 0.02 or not clients:
            client, desk = world.client()
            clients[client] = (desk, {})
        client = randomness.choice(list(clients))
        desk, expected = clients[client]
        if deed < 0.03:
            world.router.detach(client)
            del clients[client]
        elif deed < 0.04:
            world.ask(client, "sync", "s", id=1)
            assert desk.answers()[-1] == {"return": 1, "tag": "s"}
            expected.clear()
        elif deed < 0.5 and asked < count:
            asked += 1
            tag = randomness.choice([asked % 7, f"{asked}", [asked]])
            # The answer tells whose it is.
            is_qemu = randomness.random() < 0.3
            name = "guest-get-osinfo" if is_qemu else "file-stat"
            expected[asked] = 1
            world.ask(client, name, tag, is_qemu, path=str(asked))
        elif world.guest.lines:
            request = world.guest.lines.pop(randomness.randrange(len(world.guest.lines)))
            world.answer(request, **{"return": int(request["arguments"]["path"])})
        for desk, expected in clients.values():
            for answer in desk.answers():
                assert expected.pop(answer["return"]) == 1
        yield
    assert not any(expected for _, expected in clients.values())


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_each_client_gets_its_own_answers_and_no_others(seed: int) -> None:
    for _ in _mixed(World(), random.Random(seed), 500):
        pass


@pytest.mark.soak
def test_each_client_gets_its_own_answers_and_no_others_for_long() -> None:
    for _ in _mixed(World(), random.Random(1), 100_000):
        pass
