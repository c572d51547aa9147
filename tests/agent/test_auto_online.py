"""Taking added processors and memory online; tests/guest/test_guest_auto_online.py adds real ones."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.operations import auto_online
from phoenix_ga.agent.operations.auto_online import AutoOnline
from tests.agent.test_parking import stays_awake, wait_until_parked, waiter
from tests.support import AgentProcess, wait_for

__all__ = ["waiter"]


def add(root: Path, path: str, file: str, content: str) -> Path:
    directory = root / "sys/devices/system" / path
    directory.mkdir(parents=True)
    (directory / file).write_text(content)
    return directory / file


def test_what_is_new_is_taken_online_and_the_rest_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = add(tmp_path, "cpu/cpu1", "online", "0")
    lines: list[str] = []
    monkeypatch.setattr(Log, "write", lambda _, level, text: lines.append(text))
    jobs: list[Callable[[], None]] = []
    auto = AutoOnline(Loop(), jobs.append, Log("", False), str(tmp_path))
    try:
        processor = add(tmp_path, "cpu/cpu2", "online", "0")
        memory = add(tmp_path, "memory/memory40", "state", "offline")
        refused = add(tmp_path, "memory/memory41", "state", "offline")
        refused.unlink()
        refused.symlink_to("/proc/sys/kernel/ostype")
        auto._look()
        assert (processor.read_text(), memory.read_text()) == ("1", "onlinee")
        assert offline.read_text() == "0"
        assert lines == [
            "auto-online: processor 2 is online",
            "auto-online: memory block 40 is online",
            "auto-online: memory block 41 stays offline: Permission denied",
        ]
        # What an administrator takes offline stays so, until it was removed and is added again.
        processor.write_text("0")
        auto._look()
        assert processor.read_text() == "0"
        processor.unlink()
        processor.parent.rmdir()
        auto._look()
        add(tmp_path, "cpu/cpu2", "online", "0")
        auto._look()
        assert processor.read_text() == "1"
    finally:
        auto.close()


def test_it_is_tried_again_while_the_kernel_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    pauses: list[float] = []
    tried: list[int] = []

    def set_processor(number: int, online: bool, root: str) -> None:
        tried.append(number)
        if number == 2 or len(tried) < 3:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Log, "write", lambda _, level, text: lines.append(text))
    monkeypatch.setattr(auto_online, "set_processor", set_processor)
    monkeypatch.setattr(auto_online, "sleep", pauses.append)
    auto = AutoOnline(Loop(), lambda job: None, Log("", False), str(tmp_path))
    try:
        add(tmp_path, "cpu/cpu1", "online", "0")
        auto._look()
        assert (tried, len(pauses)) == ([1, 1, 1], 2)
        add(tmp_path, "cpu/cpu2", "online", "0")
        auto._look()
    finally:
        auto.close()
    assert 5 < sum(pauses) < 30
    assert lines == [
        "auto-online: processor 1 is online",
        "auto-online: processor 2 stays offline: Device or resource busy",
    ]


@pytest.mark.programs("cc")
def test_the_agent_does_not_park_as_long_as_it_watches(tmp_path: Path, waiter: None) -> None:
    with AgentProcess(tmp_path, "--park-after", "1", config="[general]\nauto-online = true\n") as agent:
        with agent.connect() as client:
            client.call("ping")
        assert stays_awake(agent)
        agent.config_path.write_text("[general]\nauto-online = false\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "read again" in agent.log_path.read_text())
        wait_until_parked(agent)
