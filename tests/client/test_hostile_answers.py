"""Each value of each answer may be of a wrong type, or not there: a call ends with an error of ours, and no other."""

from __future__ import annotations

import asyncio
import copy
import operator
import tracemalloc
from collections.abc import Iterator
from typing import Any, Union

import pytest

from phoenix_ga.client import (
    HANG_UP,
    ConnectionLostError,
    GuestTimeoutError,
    MockTransport,
    PhoenixError,
    ProtocolError,
    Transport,
    connect,
    connect_sync,
)
from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import Command
from phoenix_ga.wire.frames import DATA, encode_header
from phoenix_ga.wire.messages import Request
from tests.client.conftest import Talk, method_of, python_arguments

WRONG: list[Any] = [None, True, -1, 1.5, 10**30, "x", "\x1b[2J", [], [[]], {}, {"x": 1}]
# What a guest tells only where it was asked for it, or where there is something.
NAMES = {"user": "root", "group": "root", "target": "there"}
MAY_BE_MISSING = {
    *NAMES,
    "status",
    ("get-digests", "xxh64"),
    ("exec-attach", "stderr"),
    ("fs-freeze-plan", "skipped", 0, "type"),
    # Agents before these members are asked as well.
    ("get-netifaces", 0, "kind"),
    ("get-netifaces", 0, "container"),
}
COUNTED = {"os", "activity", "memory", "vmstat", "pressure", "cpus"}
NEEDED = {
    *("sysname", "nodename", "release", "version", "machine", "domain", "1m", "5m", "15m"),
    *("name", "mountpoint", "type", "source"),
}
Path = tuple[Any, ...]


def answer_of(command: Command) -> Any:
    """Return what the command answers in the reference, with a member for each that there may be."""
    answer: Any = command.examples[0].answer if command.examples else True
    if command.name == "get-freeze-status":
        return command.examples[-1].answer
    if command.name == "file-read":
        return {"bufb64": "aGk=", "eof": False}
    if command.name == "exec-attach":
        return {"pid": 4711, "argv": ["cat"], "window": 10, "stream": 5, "stderr": 6}
    if command.name == "file-stat":
        answer = {**answer, **NAMES}
    if command.name == "directory-list":
        answer = [{**answer[0], **NAMES}]
    return answer


def arguments_of(command: Command) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(command.examples[0].arguments) if command.examples else {"handle_id": 7}
    if command.name == "exec-attach":
        arguments = {"pid": 4711}
    return python_arguments(command, arguments)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where there is a value within `value`."""
    yield path
    if isinstance(value, dict):
        for name, member in value.items():
            yield from places(member, (*path, name))
    elif isinstance(value, list) and value:
        # The elements of an array are read alike.
        yield from places(value[0], (*path, 0))


def changed(answer: Any, path: Path, value: Any) -> Any:
    """Return `answer` with another value at `path`; where that is `...`, without the member."""
    if not path:
        return value
    answer = copy.deepcopy(answer)
    inner = answer
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return answer


def at(answer: Any, path: Path) -> Any:
    for step in path:
        answer = answer[step]
    return answer


def wrong_answers(command: Command) -> Iterator[tuple[str, Any]]:
    """Yield answers that are wrong in one place, and what is wrong."""
    answer = answer_of(command)
    for path in places(answer):
        right = at(answer, path)
        for wrong in WRONG:
            # Numbers and texts may be any, and a list may be empty; a whole number is a number as well.
            of_its_type = type(wrong) is type(right) or (type(wrong), type(right)) == (int, float)
            # The averages beside the total are no whole numbers.
            of_its_type = of_its_type or (type(wrong) is float and "pressure" in path[:1])
            if (of_its_type and wrong != 10**30) or (right is True and wrong is True):
                continue
            yield f"{'.'.join(map(str, path))} is {wrong!r:.20}", changed(answer, path, wrong)
        may_be_missing = path and (path[-1] in MAY_BE_MISSING or (command.name, *path) in MAY_BE_MISSING)
        # A kernel may not count everything.
        may_be_missing = may_be_missing or (
            command.name == "metrics" and len(path) > 1 and (path[0] in COUNTED or path[-1] not in NEEDED)
        )
        if path and isinstance(at(answer, path[:-1]), dict) and not may_be_missing:
            yield f"{'.'.join(map(str, path))} is missing", changed(answer, path, ...)


TYPED = [command for command in COMMANDS if command.name not in ("sync", "get-session")]


@pytest.mark.parametrize("face", ["async", "sync"])
@pytest.mark.parametrize("command", TYPED, ids=lambda command: command.name)
def test_a_wrong_value_in_any_place_of_any_answer(command: Command, face: str) -> None:
    cases = list(wrong_answers(command))
    answers = iter([answer for _, answer in cases])
    transport = MockTransport({command.name: lambda request: next(answers)})
    method, arguments = method_of(command), arguments_of(command)
    ask_all = ask_again_and_again if face == "async" else ask_again_and_again_sync
    for (what, _), error in zip(cases, ask_all(transport, method, arguments, len(cases))):
        assert isinstance(error, ProtocolError), (what, error)
        assert error.request is not None
        assert error.request.execute == command.name
        assert len(str(error)) < 300
        assert not error.fatal


Errors = list[Union[Exception, None]]


def ask_again_and_again(transport: Transport, method: str, arguments: dict[str, Any], count: int) -> Errors:
    errors: Errors = []

    async def conversation() -> None:
        async with connect(transport, timeout=5) as guest:
            for _ in range(count):
                try:
                    await operator.attrgetter(method)(guest)(**arguments)
                except Exception as error:
                    errors.append(error)
                else:
                    errors.append(None)

    asyncio.run(conversation())
    return errors


def ask_again_and_again_sync(transport: Transport, method: str, arguments: dict[str, Any], count: int) -> Errors:
    errors: Errors = []
    with connect_sync(transport, timeout=5) as guest:
        for _ in range(count):
            try:
                operator.attrgetter(method)(guest)(**arguments)
            except Exception as error:
                errors.append(error)
            else:
                errors.append(None)
    return errors


class Fountain(MockTransport):
    """Shakes hands, and from the first request on sends `piece` for ever. pause: between two, in seconds."""

    def __init__(self, piece: bytes, pause: float = 0) -> None:
        super().__init__({"ping": piece})
        self.sent = 0
        self._piece = piece
        self._pause = pause

    async def read(self) -> bytes:
        if not self.requests or self.closed:
            return await super().read()
        await asyncio.sleep(self._pause)
        self.sent += len(self._piece)
        return self._piece


LINE_LIMIT = 2**22
FOUNTAINS: dict[str, tuple[bytes, float, type[PhoenixError]]] = {
    "a line without end": (b"x" * 65536, 0, ProtocolError),
    "a string without end": (b'{"return": "' + b"x" * 65536, 0, ProtocolError),
    "a list without end": (b"[" * 65536, 0, ProtocolError),
    "an object without end": (b'{"a":' * 10_000, 0, ProtocolError),
    "random bytes": (bytes(range(1, 250)) * 100, 0, ProtocolError),
    "damaged frames": (b"\xfb" * 65536, 0, ProtocolError),
    "frames of no stream": (encode_header(DATA, 9, 1000) + bytes(1000), 0, ProtocolError),
    "a frame that is never whole": (encode_header(DATA, 9, 200_000) + b"x", 10, GuestTimeoutError),
    "answers to nothing": (b'{"return": 1, "tag": "nobody"}\n' * 100, 0, GuestTimeoutError),
    "answers without a tag": (b'{"return": 1}\n' * 100, 0, GuestTimeoutError),
    "errors about nothing": (b'{"error": {"bufb64": "", "code": 5}}\n' * 100, 0, ProtocolError),
    "large answers to nothing": (b'{"return": "' + b"x" * 10**6 + b'", "tag": "nobody"}\n', 0, GuestTimeoutError),
    "newlines": (b"\n" * 65536, 0, GuestTimeoutError),
    "marks": (b"\xff" * 65536, 0, GuestTimeoutError),
    "lines that are taken back": (b'{"return": ' + b"\xff" * 1000, 0, GuestTimeoutError),
    "a byte now and then": (b"{", 0.02, GuestTimeoutError),
    "a space now and then": (b" ", 0.02, GuestTimeoutError),
    "half a character now and then": (b"\xc3", 0.02, GuestTimeoutError),
}


@pytest.mark.parametrize(("piece", "pause", "error"), FOUNTAINS.values(), ids=FOUNTAINS.keys())
def test_what_comes_without_end_takes_neither_time_nor_memory_without_end(
    talk: Talk, piece: bytes, pause: float, error: type[PhoenixError]
) -> None:
    fountain = Fountain(piece, pause)
    timeout = 0.3 if error is GuestTimeoutError else 5
    tracemalloc.start()
    try:
        # That it ends at all is seen by the time limit of each test.
        with pytest.raises(error) as caught:
            talk(fountain, "ping", options={"timeout": timeout, "line_limit": LINE_LIMIT})
        assert caught.value.request is not None
        assert tracemalloc.get_traced_memory()[1] < 8 * LINE_LIMIT
    finally:
        tracemalloc.stop()
    assert fountain.closed


def test_a_line_of_a_gibibyte_is_refused_before_it_is_there(talk: Talk) -> None:
    fountain = Fountain(b"x" * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="longer than the limit"):
            talk(fountain, "ping", options={"timeout": 30})
        # The limit is 64 MiB; to append to what is held may move it.
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**26
    finally:
        tracemalloc.stop()
    assert fountain.sent < 2**27


DUPLICATES = 1000


def test_an_answer_that_comes_a_thousand_times_is_taken_once(talk: Talk) -> None:
    def answer(request: Request) -> bytes:
        return b'{"return": "1.0", "tag": "%s"}\n' % request.tag.encode() * DUPLICATES

    assert talk(MockTransport({"ping": answer}), "ping") == "1.0"


def test_a_guest_that_is_gone_with_half_an_answer_is_a_lost_link(talk: Talk) -> None:
    def answer(request: Request) -> Any:
        transport.feed(b'{"return": "1.')
        return HANG_UP

    transport = MockTransport({"ping": answer})
    with pytest.raises(ConnectionLostError) as caught:
        talk(transport, "ping")
    assert caught.value.request is not None
