"""Clients of the QEMU Guest Agent that come while the kernel still tells of the one before."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.protocol.conversation import Conversation
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.agent.protocol.scheduler import Scheduler
from tests.support import wait_for

PING = b'{"execute": "guest-ping"}'


def sync(number: int) -> bytes:
    return b'{"execute": "guest-sync", "arguments": {"id": %d}}' % number


class Wire:
    """What a conversation uses of its channel; it keeps what is sent."""

    connected = True
    exhausted = 0
    output_size = 0
    paused = False

    def __init__(self) -> None:
        self.sent = b""

    def send(self, pieces: Any) -> None:
        self.sent += b"".join(bytes(piece) for piece in pieces)

    def drop_output(self) -> None:
        pass

    pause = resume = poll_connected = drop_output

    @property
    def answers(self) -> list[Any]:
        return [json.loads(line)["return"] for line in self.sent.replace(b"\xff", b"").splitlines()]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def dispatcher(tmp_path: Path) -> Dispatcher:
    config = Config(run_directory=str(tmp_path))
    loop = Loop()
    context = Context(config, Policy(), Log(str(tmp_path / "log")), Handles(4), loop, lambda: None)
    dispatcher = Dispatcher(context, NATIVE, lambda: QGA)
    dispatcher.load_qga()
    return dispatcher


@pytest.fixture
def conversation(dispatcher: Dispatcher, wire: Wire) -> Conversation:
    channel: Any = wire
    scheduler = Scheduler(dispatcher, dispatcher.context.loop, Workers(2))
    return Conversation(scheduler, channel, "port", lambda: None)


def test_what_a_client_left_behind_is_done_but_not_answered(conversation: Conversation, wire: Wire) -> None:
    conversation.received(memoryview(PING))
    conversation.leave()
    conversation.received(memoryview(PING))
    assert wire.answers == [{}]
    wire.exhausted += 1
    conversation.received(memoryview(PING))
    assert wire.answers == [{}, {}]


@pytest.mark.parametrize("name", [b"guest-sync", b"guest-sync-delimited"])
def test_a_sync_is_somebody_new_even_before_that_is_known(
    conversation: Conversation, wire: Wire, name: bytes
) -> None:
    conversation.received(memoryview(PING))
    conversation.leave()
    conversation.received(memoryview(sync(5).replace(b"guest-sync", name) + PING))
    assert wire.answers == [{}, 5, {}]


def test_a_sync_does_not_wait_behind_a_stuck_command_of_a_client_that_left(
    conversation: Conversation, wire: Wire, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    load = dispatcher.load

    def load_stuck(dialect: Any, command: Any) -> Any:
        return (lambda context: goes_on.wait(20)) if command.name == "guest-get-osinfo" else load(dialect, command)

    monkeypatch.setattr(dispatcher, "load", load_stuck)
    conversation.received(memoryview(b'{"execute": "guest-get-osinfo"}' + PING))
    conversation.received(memoryview(sync(7) + PING))
    assert wire.answers == []
    conversation.leave()
    assert wire.answers == [7, {}]
    goes_on.set()


def test_modules_for_a_request_are_imported_by_a_worker_and_nothing_is_lost(tmp_path: Path, wire: Wire) -> None:
    loaded, loop = threading.Event(), Loop()

    def load() -> Any:
        assert loaded.wait(20)
        return QGA

    context = Context(Config(run_directory=str(tmp_path)), Policy(), Log(), Handles(4), loop, lambda: None)
    scheduler = Scheduler(Dispatcher(context, NATIVE, load), loop, Workers(2))
    channel: Any = wire
    conversation = Conversation(scheduler, channel, "port", loop.stop)
    conversation.ending = True
    conversation.received(memoryview(sync(5) + b"\n" + PING + b"\n"))
    conversation.received(memoryview(PING + b"\n"))
    assert wire.answers == []
    loop.call_soon(loaded.set)
    loop.call_later(20, loop.stop)
    loop.run()
    assert wire.answers == [5, {}, {}]


def test_modules_that_cannot_be_imported_become_an_error_of_the_request(tmp_path: Path, wire: Wire) -> None:
    loop = Loop()

    def load() -> Any:
        raise ImportError("the disk is gone")

    context = Context(Config(run_directory=str(tmp_path)), Policy(), Log(), Handles(4), loop, lambda: None)
    channel: Any = wire
    scheduler = Scheduler(Dispatcher(context, NATIVE, load), loop, Workers(2))
    conversation = Conversation(scheduler, channel, "port", loop.stop)
    conversation.ending = True
    conversation.received(memoryview(PING + b"\n"))
    loop.call_later(20, loop.stop)
    loop.run()
    assert b"the disk is gone" in b64decode(json.loads(wire.sent)["error"]["bufb64"])


class Freezing:
    """A freeze that is under way until `proceed` is set, and then returns whether it was called off."""

    def __init__(self, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.proceed = threading.Event(), threading.Event()
        self.revoked: list[bool] = []
        load = dispatcher.load

        def load_one(dialect: Any, command: Any) -> Any:
            if command.name == "fs-unfreeze":
                return lambda context, **arguments: True
            return self.freeze if command.name == "fs-freeze" else load(dialect, command)

        monkeypatch.setattr(dispatcher, "load", load_one)
        monkeypatch.setattr(dispatcher, "_handlers", {})

    def freeze(self, context: Context, revoked: Callable[[], bool], **arguments: Any) -> bool:
        self.started.set()
        assert self.proceed.wait(20)
        self.revoked.append(revoked())
        return True

    def result(self) -> bool:
        self.proceed.set()
        wait_for(lambda: bool(self.revoked))
        return self.revoked[0]


FREEZE = b'{"execute": "fs-freeze"}\n'


def test_a_freeze_whose_client_stays_is_not_called_off(
    conversation: Conversation, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezing = Freezing(dispatcher, monkeypatch)
    conversation.received(memoryview(FREEZE))
    assert freezing.started.wait(20)
    assert freezing.result() is False


@pytest.mark.parametrize(("tag", "is_revoked"), [(b"b", False), (b"a", True), (b"", True)])
def test_a_thaw_may_name_the_only_request_to_call_off(
    conversation: Conversation,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
    tag: bytes,
    is_revoked: bool,
) -> None:
    freezing = Freezing(dispatcher, monkeypatch)
    conversation.received(memoryview(b'{"execute": "fs-freeze", "tag": "a"}\n'))
    assert freezing.started.wait(20)
    conversation.received(
        memoryview(b'{"execute": "fs-unfreeze", "arguments": {"request": "%s"}, "tag": "c"}\n' % tag)
    )
    assert freezing.result() is is_revoked


def test_a_freeze_whose_client_leaves_is_called_off(
    conversation: Conversation, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezing = Freezing(dispatcher, monkeypatch)
    conversation.received(memoryview(FREEZE))
    assert freezing.started.wait(20)
    conversation.leave()
    assert freezing.result() is True


@pytest.mark.parametrize("by", ["the same client", "another client"])
def test_a_thaw_calls_off_a_freeze_that_came_before_it(
    conversation: Conversation, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    freezing = Freezing(dispatcher, monkeypatch)
    conversation.received(memoryview(FREEZE.replace(b"}", b', "tag": 1}')))
    assert freezing.started.wait(20)
    if by == "another client":
        channel: Any = Wire()
        conversation = Conversation(conversation._scheduler, channel, "port", lambda: None)
    conversation.received(memoryview(b'{"execute": "fs-unfreeze"}\n'))
    assert freezing.result() is True


def test_a_freeze_and_a_thaw_that_are_sent_together_are_both_done(
    conversation: Conversation, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezing = Freezing(dispatcher, monkeypatch)
    conversation.received(memoryview(FREEZE + b'{"execute": "fs-unfreeze"}\n'))
    assert freezing.started.wait(20)
    assert freezing.result() is False


def test_a_freeze_is_not_delayed_by_busy_workers(
    conversation: Conversation, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezing, stuck = Freezing(dispatcher, monkeypatch), threading.Event()
    workers = conversation._scheduler.workers
    for _ in range(2 * workers.limit):
        workers.submit(lambda: (stuck.wait(20), None)[1])
    conversation.received(memoryview(FREEZE))
    assert freezing.started.wait(20)
    freezing.proceed.set()
    stuck.set()
