"""A listening port in one process with its test."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.ports.kinds import make_port
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.agent.protocol.scheduler import Scheduler
from tests.ends.client import HungUpError, LineClient


@pytest.fixture
def context(tmp_path: Path) -> Context:
    config = Config(run_directory=str(tmp_path / "run"))
    return Context(config, Policy(), Log(str(tmp_path / "log")), Handles(4), Loop(), lambda: None)


@pytest.fixture
def socket(context: Context, tmp_path: Path) -> Iterator[Path]:
    """The socket of a port that is served by a thread."""
    loop = context.loop
    dispatcher = Dispatcher(context, NATIVE, lambda: NATIVE)
    dispatcher.load_needed(NATIVE)
    port = make_port(f"unix:{tmp_path}/s", Scheduler(dispatcher, loop, Workers(2)), lambda: None)
    port.start()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield tmp_path / "s"
    loop.call_from_thread(port.close)
    loop.call_from_thread(loop.stop)
    thread.join()


def test_a_connection_that_the_kernel_cannot_watch_is_closed_and_the_next_one_is_served(
    context: Context, socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = context.loop.watch

    def refuse(*arguments: Any) -> None:
        monkeypatch.setattr(context.loop, "watch", watch)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with LineClient.reach(socket) as first:
        assert first.call("ping") == __version__
        monkeypatch.setattr(context.loop, "watch", refuse)
        with LineClient.connect(socket) as second, pytest.raises((HungUpError, OSError)):
            second.call("ping")
        with LineClient.connect(socket) as third:
            assert third.call("ping") == __version__
        assert first.call("ping") == __version__


def test_a_part_that_waits_for_a_disk_does_not_keep_a_thaw_waiting(context: Context) -> None:
    reading, goes_on = threading.Event(), threading.Event()

    def make(context: Context) -> str:
        reading.set()
        assert goes_on.wait(60)
        return "made"

    thread = threading.Thread(target=context.part, args=(make,))
    thread.start()
    assert reading.wait(60)
    assert context.freezer.thaw() == 0
    goes_on.set()
    thread.join()
    assert context.existing_part(make) == "made"
